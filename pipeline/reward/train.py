"""Reward model: the SFT model with a new head that gives one number, trained on pairs by TRL. `make reward`

Reads  sft/model, preferences/train.jsonl and heldout.jsonl; preferences/gold.jsonl where there is one, after the
       training, to measure by the true order what was trained on noisy labels.
Writes model/ (sequence classification with one output, tokenizer), margins.json (held-out histogram, calibration),
       log.jsonl.
"""

import json
import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoConfig, AutoTokenizer
from trl import RewardConfig

from pipeline.chat import end_of_turn_id
from pipeline.classifier import padding_difference, score
from pipeline.intervals import slugs
from pipeline.length_grouped import STRATEGY
from pipeline.pairs import EncodedPair, encode_pairs, read_pairs, show_pair
from pipeline.reward.groups import GroupCollator, GroupedRewardTrainer, group_pairs, sample_groups
from pipeline.reward.recipe import Recipe
from pipeline.reward.score import (
    ScoredPair,
    accuracies,
    by_source,
    calibration,
    calibration_error,
    length_matched,
    margins,
)
from pipeline.stage import Job, UserError
from pipeline.trainers import common, train

# Gold scores nearer than this count as equal: which of two such answers is better is not a fair question.
GOLD_DIFFERENCE = 0.1
# Groups of like length share a batch, so little of it is padding; the sampler needs the column "length".
SAMPLING = {"train_sampling_strategy": STRATEGY, "remove_unused_columns": False}
NUM_PADDING_PROBES = 8

log = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """Trains and measures the reward model."""
    recipe: Recipe = job.recipe
    start, source = time.monotonic(), job.needs("preferences")
    model_path = job.needs("sft") / "model"
    tokenizer = load_tokenizer(model_path)
    window = AutoConfig.from_pretrained(model_path).max_position_embeddings
    limit = min(window, recipe.trainer.get("max_length") or window)
    pairs, dropped = encode_pairs(tokenizer, read_pairs(source / "train.jsonl"), limit, str(source / "train.jsonl"))
    heldout, _ = encode_pairs(tokenizer, read_pairs(source / "heldout.jsonl"), limit, str(source / "heldout.jsonl"))
    show_pair(tokenizer, pairs[0], job.out, job.stage)
    groups = sample_groups(group_pairs(pairs), recipe.max_pairs, f"{job.seed}/reward/pairs")
    settings = {
        **common(job),
        "model_init_kwargs": {"use_safetensors": True},
        **SAMPLING,
        **recipe.trainer,
        "max_length": limit,
    }
    trainer = GroupedRewardTrainer(
        model=str(model_path),
        args=RewardConfig(**settings),
        train_dataset=Dataset.from_list([group.row() for group in groups]),
        data_collator=GroupCollator(tokenizer.pad_token_id),
        processing_class=tokenizer,
    )
    train(trainer, job, "reward")
    model = trainer.model.eval()
    model.save_pretrained(job.out / "model")
    tokenizer.save_pretrained(job.out / "model")
    return {
        "prompts": len(groups),
        "pairs": sum(len(group.chosen) for group in groups),
        **{f"dropped_{reason}": count for reason, count in sorted(dropped.items())},
        **measure(model, tokenizer, heldout, source / "gold.jsonl", job),
        "seconds": time.monotonic() - start,
    }


def load_tokenizer(model_path: Path) -> Any:
    """The SFT model's tokenizer. Raises UserError where its pad token cannot tell padding from an answer's end."""
    tokenizer = AutoTokenizer.from_pretrained(model_path)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id == end_of_turn_id(tokenizer):
        raise UserError(
            f"{model_path}: the tokenizer's pad token is {tokenizer.pad_token!r}. The reward is read at the last "
            "token that is not padding, so it must have a pad token of its own, other than the end of a turn."
        )
    return tokenizer


def measure(
    model: torch.nn.Module, tokenizer: Any, heldout: Sequence[EncodedPair], gold_file: Path, job: Job
) -> dict[str, float]:
    """The held-out figures; writes margins.json."""
    sides = [pair.prompt_ids + ids for pair in heldout for ids in (pair.chosen_ids, pair.rejected_ids)]
    numbers: dict[tuple[int, ...], int] = {}  # an answer that stands in several pairs is scored once
    places = [numbers.setdefault(tuple(ids), len(numbers)) for ids in sides]
    sequences = [list(ids) for ids in numbers]
    scores = score(model, sequences, tokenizer.pad_token_id)
    rewards = [scores[place] for place in places]
    if not float(torch.tensor(rewards).std()) > 0:
        raise UserError(
            f"reward: the trained model gives each of {len(rewards)} held-out answers the same score, or none that is "
            "a number, so it judges nothing. Lower learning_rate, or look at the pairs."
        )
    labelled = [scored(pair, rewards[2 * i], rewards[2 * i + 1]) for i, pair in enumerate(heldout)]
    figures = {"accuracy": accuracies(labelled, job.seed)["reward"]}
    judged, order = labelled, "label"
    if gold_file.is_file():
        clear = true_order(heldout, rewards, read_gold(gold_file))
        if clear:
            judged, order = clear, "gold"
        else:  # A handful of prompts, as in a trial: the figures go by label, and accuracy_gold is left out.
            log.warning(
                "reward: no held-out pair has gold scores %s apart, so there is no accuracy_gold", GOLD_DIFFERENCE
            )
    by_rule = accuracies(judged, job.seed)
    figures |= {"accuracy_longer": by_rule["longer"], "accuracy_shorter": by_rule["shorter"]}
    if order == "gold":
        figures["accuracy_gold"] = by_rule["reward"]
    # By the labels, since these are what the model was trained to be sure about.
    figures["calibration_error"] = calibration_error(labelled, job.seed)
    if matched := length_matched(judged):
        figures["accuracy_length_matched"] = accuracies(matched, job.seed)["reward"]
    sources = by_source(labelled)
    for source, name in slugs(sources).items():
        figures[f"agreement_{name}"] = accuracies(sources[source], job.seed)["reward"]
    bins = {"calibration": calibration(labelled)}
    histogram = {"order": order, "num_pairs": len(judged), **margins(judged), **bins}
    (job.out / "margins.json").write_text(json.dumps(histogram), encoding="utf-8")
    metrics: dict[str, float] = {}
    for name, (mean, low, high, n) in figures.items():
        metrics |= {name: mean, f"{name}_low": low, f"{name}_high": high, f"{name}_n": n}
    metrics["reward_std"] = float(torch.tensor(rewards).std())
    metrics["padding_difference"] = padding_difference(model, sequences[:NUM_PADDING_PROBES], tokenizer.pad_token_id)
    return metrics


def scored(pair: EncodedPair, better: float, worse: float) -> ScoredPair:
    """The pair in its labelled order."""
    return ScoredPair(
        prompt=tuple(pair.prompt_ids),
        better_reward=better,
        worse_reward=worse,
        better_length=len(pair.chosen_ids),
        worse_length=len(pair.rejected_ids),
        source=pair.source,
    )


def true_order(
    heldout: Sequence[EncodedPair], rewards: Sequence[float], gold: dict[str, tuple[float, float]]
) -> list[ScoredPair]:
    """The held-out pairs whose gold scores differ enough, in the order of those scores: label noise undone."""
    judged = []
    for index, pair in enumerate(heldout):
        chosen_gold, rejected_gold = gold[pair.id]
        if abs(chosen_gold - rejected_gold) < GOLD_DIFFERENCE - 1e-9:
            continue
        labelled = scored(pair, rewards[2 * index], rewards[2 * index + 1])
        judged.append(labelled if chosen_gold > rejected_gold else labelled.swapped())
    return judged


def read_gold(path: Path) -> dict[str, tuple[float, float]]:
    """For each pair's id the gold scores of its chosen and its rejected side."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {entry["id"]: (entry["chosen_gold"], entry["rejected_gold"]) for entry in rows}
