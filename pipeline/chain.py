"""The chain: every stage in the order in which things happen. The Makefile's DAG is compared with it by a test."""

from pipeline.collect.recipe import STAGE as COLLECT
from pipeline.corpus.recipe import STAGE as CORPUS
from pipeline.dpo.recipe import STAGE as DPO
from pipeline.evaluate.recipe import STAGE as EVALUATE
from pipeline.grpo.recipe import STAGE as GRPO
from pipeline.ppo.recipe import STAGE as PPO
from pipeline.preferences.recipe import STAGE as PREFERENCES
from pipeline.pretrain.recipe import STAGE as PRETRAIN
from pipeline.report.recipe import STAGE as REPORT
from pipeline.reward.recipe import STAGE as REWARD
from pipeline.sft.recipe import STAGE as SFT
from pipeline.stage import Stage
from pipeline.tokenizer.recipe import STAGE as TOKENIZER

CHAIN: tuple[Stage, ...] = (
    COLLECT, CORPUS, TOKENIZER, PRETRAIN, SFT, PREFERENCES, REWARD, DPO, PPO, GRPO, EVALUATE, REPORT,
)  # fmt: skip
BY_NAME: dict[str, Stage] = {stage.name: stage for stage in CHAIN}

# The stages that write <stage>/model, a causal language model, from least to most aligned.
MODEL_STAGES: tuple[str, ...] = ("pretrain", "sft", "dpo", "ppo", "grpo")
# The stages that let text into training; each writes certificates/ of what it was searched for.
SCREENED: tuple[str, ...] = ("corpus", "sft", "preferences", "ppo", "grpo")
# The stages that write log.jsonl as they train.
TRAINED: tuple[str, ...] = ("pretrain", "sft", "reward", "dpo", "ppo", "grpo")
