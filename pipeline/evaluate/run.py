"""Evaluate: measures every model of a run by the same code, on the same prompts and held-out documents.

Reads collect/ (prompts and benchmark items), corpus/ (held-out text, certificates), tokenizer/ (token store) and the
models; writes results.json, scores.json and table.md. Everything cheap is checked before the first model is loaded.
`make evaluate RECIPE=storyworld`
"""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from pipeline.artifact import write_atomically, write_json
from pipeline.chat import encode_text, stop_ids
from pipeline.evaluate.bits import document_bits, heldout_texts, linearised
from pipeline.evaluate.certificate import check
from pipeline.evaluate.models import Candidate, candidates, choose, document_end
from pipeline.evaluate.recipe import Recipe
from pipeline.evaluate.results import metrics, scores, table
from pipeline.evaluate.score import Measure, difference, rouge_l, well_formed, wishes
from pipeline.generate import generate
from pipeline.stage import Job, UserError
from pipeline.store import open_split

Measures = dict[str, dict[str, Measure]]  # model -> metric -> measure
VERSUS = "sft"
NUM_UNPROMPTED_SHOWN = 3


def run(job: Job) -> dict[str, float]:
    """Measures, writes results.json, scores.json and table.md, and returns the flat metrics."""
    recipe: Recipe = job.recipe
    models = candidates(job.inputs)
    corpus = job.inputs.get("corpus")
    items: list[dict[str, Any]] = []
    certificates: list[dict[str, Any]] = []
    passed_over = 0
    if recipe.answers is not None:
        collect = job.needs("collect")
        certificates = check(collect, corpus, recipe.uncertified)
        everything = prompts(collect / "prompts" / "evaluate.jsonl", recipe)
        items, passed_over = choose(models, everything, recipe.num_prompts, recipe.max_new_tokens, job.seed)
    texts = heldout_texts(corpus, recipe.num_heldout_documents, job.seed) if corpus else []
    if not items and not texts:
        raise UserError("evaluate: nothing to measure: answers is null and the run has no held-out text in a corpus.")

    measured: Measures = {}
    answers: dict[str, list[str]] = {}
    unprompted: dict[str, list[str]] = {}
    for candidate in models:
        measured[candidate.name] = measure(candidate, recipe, job.seed, items, texts, answers, unprompted)
    rows = figures(measured, job.seed)
    if texts and "tokenizer" in job.inputs:
        unigram = unigram_bits(job.inputs["tokenizer"], texts)
        rows.append({"stage": "unigram", "metric": "bits_per_byte", **unigram.figure(job.seed)})
    results: dict[str, Any] = {
        "run": job.run_name,
        "rows": rows,
        "differences": differences(models, measured, job.seed),
        "samples": [
            {
                "prompt": item["prompt"][-1]["content"],
                "reference": item.get("reference"),
                "answers": {name: answers[name][i] for name in answers},
            }
            for i, item in enumerate(items[: recipe.num_samples])
        ],
        "unprompted": {name: stories[:NUM_UNPROMPTED_SHOWN] for name, stories in unprompted.items()},
        "certificates": certificates,
        "settings": {
            "seed": job.seed,
            "prompts": len(items),
            "prompts_too_long": passed_over,
            "heldout_documents": len(texts),
            "temperature": recipe.temperature,
            "top_p": recipe.top_p,
            "max_new_tokens": recipe.max_new_tokens,
        },
    }
    write_json(job.out / "results.json", results)
    kept = scores([item["prompt"][-1]["content"] for item in items], texts, measured)
    write_atomically(job.out / "scores.json", json.dumps(kept) + "\n")
    write_atomically(job.out / "table.md", table(results))
    return metrics(rows, results["differences"])


def prompts(path: Path, recipe: Recipe) -> list[dict[str, Any]]:
    """The evaluation prompts that the recipe's scoring can use. Raises UserError where there is none."""
    needed = {"wishes": "wishes", "rouge_l": "reference"}[str(recipe.answers)]
    if not path.is_file():
        raise UserError(
            f"evaluate: {path} is missing: this recipe's collect gives no evaluation prompts. Let it write some, or "
            f"say answers: null in evaluate.yaml to measure held-out text only."
        )
    with path.open(encoding="utf-8") as file:
        items = [item for item in map(json.loads, file) if item.get(needed)]
    if not items:
        raise UserError(
            f"evaluate: no prompt in {path} has '{needed}', which answers: {recipe.answers} scores against."
        )
    return items


def measure(
    candidate: Candidate,
    recipe: Recipe,
    seed: int,
    items: list[dict[str, Any]],
    texts: list[str],
    answers: dict[str, list[str]],
    unprompted: dict[str, list[str]],
) -> dict[str, Measure]:
    """Every metric of one model; adds its answers to `answers` and a base's free stories to `unprompted`."""
    model = candidate.load()
    found: dict[str, Measure] = {}
    if items:
        told = say(candidate, model, candidate.prompts, recipe, seed)
        answers[candidate.name] = told
        if recipe.answers == "rouge_l":
            found |= rouge_l(told, items)
        else:
            found |= wishes(told, items)
            if not candidate.chats:
                told = say(candidate, model, [candidate.document_start] * len(items), recipe, seed)
                unprompted[candidate.name] = told
            found["well_formed"] = well_formed(told)
    if texts:
        documents = [tokenised(candidate.tokenizer, text) for text in texts]
        bits = document_bits(model, documents, candidate.context, pad=document_end(candidate.tokenizer))
        found["bits_per_byte"] = Measure(values=linearised(bits, [len(text.encode()) for text in texts]))
    return found


def say(candidate: Candidate, model: Any, asked: list[list[int]], recipe: Recipe, seed: int) -> list[str]:
    """What the model answers, as text. Every model draws with the same seed, so that differences can be paired."""
    ids = generate(
        model,
        candidate.tokenizer,
        asked,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.temperature,
        top_p=recipe.top_p,
        seed=random.Random(f"{seed}/evaluate/answers").randrange(2**31),
        batch_size=recipe.batch_size,
        stop_ids=stop_ids(candidate.tokenizer),
    )
    return [text.strip() for text in candidate.tokenizer.batch_decode(ids, skip_special_tokens=True)]


def tokenised(tokenizer: Any, text: str) -> list[int]:
    """A document as in the token store: an end in front (given), the text, an end behind (paid for)."""
    end = document_end(tokenizer)
    return [end, *encode_text(tokenizer, text), end]


def unigram_bits(folder: Path, texts: list[str]) -> Measure:
    """What the same documents cost a unigram model: each token by its share of the training split (add-one)."""
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", trust_remote_code=False)
    split = open_split(folder / "store", "train")
    counts = np.bincount(split.tokens, minlength=split.vocabulary_size).astype(np.float64) + 1.0
    price = -np.log2(counts / counts.sum())  # (V,) bits a token
    bits = [float(price[tokenised(tokenizer, text)[1:]].sum()) for text in texts]
    return Measure(values=linearised(bits, [len(text.encode()) for text in texts]))


def figures(measured: Measures, seed: int) -> list[dict[str, Any]]:
    """The rows of results.json."""
    return [
        {"stage": name, "metric": metric, **measure.figure(seed)}
        for name, found in measured.items()
        for metric, measure in found.items()
    ]


def pairs(models: list[Candidate]) -> list[tuple[str, str]]:
    """(model, versus): each of the run's own against its chat model, and against the base recipe's of its stage."""
    own = {m.stage: m.name for m in models if not m.owner}
    against_sft = [(name, own[VERSUS]) for stage, name in own.items() if VERSUS in own and stage != VERSUS]
    return against_sft + [(own[m.stage], m.name) for m in models if m.owner and m.stage in own]


def differences(
    models: list[Candidate], measured: Mapping[str, Mapping[str, Measure]], seed: int
) -> list[dict[str, Any]]:
    """The paired differences of results.json."""
    rows = []
    for name, versus in pairs(models):
        for metric in measured[name]:
            if metric not in measured[versus]:
                continue
            found = difference(measured[name][metric], measured[versus][metric], seed)
            if found is not None:
                rows.append({"stage": name, "versus": versus, "metric": metric, **found})
    return rows
