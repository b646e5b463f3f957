"""What the stage `grpo` may be told: what scores the answers, an optional adapter, and TRL's own settings."""

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline import artifact
from pipeline.chat_columns import PromptTable
from pipeline.functions import FunctionName, function_file
from pipeline.lora import Lora
from pipeline.screen.keys import Screen
from pipeline.stage import Stage, StageRecipe
from pipeline.table import identity as table_identity
from pipeline.trl_keys import GRPOKeys, without_effect, without_intervals

_DRAWING = "answers are drawn by pipeline/generate.py, which knows temperature, top_p and max_completion_length"
_EVERY_STEP = "every step draws its own answers and uses them once, so that a killed run resumes exactly"
_ONCE = "answers are used once, so the ratio of probabilities is always 1 and there is nothing to bound"
_ONE_REWARD = "there is one reward: the reward model's, or the function's"
_REFERENCE = "the reference is the SFT model throughout"
_SAMPLES = "samples.jsonl holds some answers of each step"
# Keys of GRPOConfig that a setting of this stage leaves without effect, with the reason.
WITHOUT_EFFECT = {
    **dict.fromkeys(
        (
            "use_vllm", "vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode", "vllm_structured_outputs_regex",
            "vllm_server_base_url", "vllm_server_host", "vllm_server_port", "vllm_server_timeout", "vllm_group_port",
            "vllm_gpu_memory_utilization", "vllm_max_model_length", "vllm_tensor_parallel_size",
            "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
            "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min", "vllm_importance_sampling_cap",
            "top_k", "min_p", "generation_kwargs", "repetition_penalty", "cache_implementation",
            "use_transformers_continuous_batching", "transformers_continuous_batching_config",
            "use_transformers_paged", "ds3_gather_for_generation",
        ),
        _DRAWING,
    ),
    **dict.fromkeys(("num_iterations", "steps_per_generation", "generation_batch_size"), _EVERY_STEP),
    **dict.fromkeys(("reward_weights", "multi_objective_aggregation"), _ONE_REWARD),
    **dict.fromkeys(("sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"), _REFERENCE),
    **dict.fromkeys(
        (
            "log_completions", "log_multimodal", "num_completions_to_print", "log_unique_prompts",
            "log_completions_hub_repo",
        ),
        _SAMPLES,
    ),
    **dict.fromkeys(
        (
            "epsilon", "epsilon_high", "delta", "importance_sampling_level", "off_policy_mask_threshold",
            "sapo_temperature_neg", "sapo_temperature_pos", "vespo_k_pos", "vespo_lambda_pos", "vespo_k_neg",
            "vespo_lambda_neg",
        ),
        _ONCE,
    ),
    "auto_find_batch_size": "a step has as many answers as the recipe says",
    "num_generations_eval": "the held-out prompts are measured by `evaluate`",
    "max_tool_calling_iterations": "the models here call no tools",
    "chat_template_kwargs": "the stage encodes the prompts by itself",
    "remove_unused_columns": "the stage makes the columns by itself",
}  # fmt: skip
# The losses that differ where the ratio is 1: in how they average over tokens and answers.
LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")
SCALES = ("group", "batch", "none")
# What a step draws where the recipe does not say.
DEFAULTS = {
    "per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "num_generations": 8,
    "max_completion_length": 128, "temperature": 1.0, "top_p": 1.0,
}  # fmt: skip


class Recipe(StageRecipe):
    """The keys of grpo.yaml.

    function: `module:name` or `./file.py:name` of a function (prompt, answer, row) -> number that scores answers in
        place of the reward model: the messages, the answer's text, and everything that collect wrote about the prompt.
    lora: a low-rank adapter in place of the full weights; the reference is then the model without it.
    prompts: prompts of your own, in place of those that collect found.
    max_prompts: at most so many of the prompts, drawn at random; null takes all.
    missing_eos_penalty: taken off the score of an answer that never ends; the logged score is after it.
    num_samples: answers of each step that samples.jsonl keeps.
    screen: what is replaced in prompts, or drops them (pipeline/screen/keys.py).
    trainer: keys of trl's GRPOConfig. A step answers per_device_train_batch_size x gradient_accumulation_steps /
        num_generations prompts, each num_generations times.
    """

    function: FunctionName | None = None
    lora: Lora | None = None
    prompts: PromptTable | None = None
    max_prompts: int | None = Field(default=None, ge=1)
    missing_eos_penalty: float = Field(default=0.0, ge=0.0)
    num_samples: int = Field(default=2, ge=0)
    screen: Screen = Screen()
    trainer: Annotated[GRPOKeys, without_effect(WITHOUT_EFFECT)] = Field(default_factory=dict)

    def hashed(self) -> dict[str, Any]:
        keys = {key: value for key, value in super().hashed().items() if key != "num_samples"}
        return {**keys, "trainer": without_intervals(keys["trainer"])}

    @property
    def drawing(self) -> dict[str, Any]:
        """How many answers a step draws, how many to a prompt and how; under trl's names."""
        return {key: self.trainer.get(key, default) for key, default in DEFAULTS.items()}

    @property
    def answers_a_step(self) -> int:
        """How many answers a step draws and learns from."""
        return self.drawing["per_device_train_batch_size"] * self.drawing["gradient_accumulation_steps"]

    @model_validator(mode="after")
    def _answers_that_teach(self) -> Self:
        for key, value in self.drawing.items():
            if value is None or not value > 0:
                raise ValueError(f"trainer.{key} = {value}: must be above 0.")
        if self.drawing["top_p"] > 1:
            raise ValueError(f"trainer.top_p = {self.drawing['top_p']}: is a share, at most 1.")
        for key, accepted in (("loss_type", LOSSES), ("scale_rewards", SCALES)):
            value = self.trainer.get(key, accepted[0])
            if value not in accepted:
                raise ValueError(f"trainer.{key} = {value!r}: accepted here: {', '.join(accepted)}.")
        group = self.drawing["num_generations"]
        if group < 2:
            raise ValueError(
                f"trainer.num_generations = {group}: an answer is judged by the others to its prompt. Give at least 2."
            )
        if self.answers_a_step % group:
            raise ValueError(
                f"trainer.num_generations = {group} does not divide the {self.answers_a_step} answers of a step "
                "(per_device_train_batch_size x gradient_accumulation_steps). Make these a multiple of it."
            )
        return self


def identity(recipe: Recipe) -> Any:
    """What the stage reads from outside of the run: the function's file, and the files of prompts of one's own."""
    found: dict[str, Any] = {}
    if recipe.function is not None:
        found["function"] = artifact.sha256(function_file(recipe.function, "grpo.yaml"))
    if recipe.prompts is not None:
        found["prompts"] = table_identity([recipe.prompts])
    return found or None


STAGE = Stage(
    name="grpo",
    version=3,
    recipe=Recipe,
    verb="pipeline.grpo.train:run",
    reads=("collect", "sft", "reward"),
    outside="pipeline.grpo.recipe:identity",
    optional=True,
)
