"""Where a row of collect's that is no document is: a conversation, a prompt, a pair, or an item of a benchmark.

`places` yields (stage, where in words) for `make trace`. What a stage took is computed again where its recipe and seed
decide it, and said to be unknown where the artifact does not keep it.
"""

import json
import math
import random
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline import artifact
from pipeline.chain import SCREENED
from pipeline.sft.recipe import NUM_HELDOUT

Place = tuple[str, str]
MEASURING = ("evaluate", "report")  # made from every model, and learnt from none
TAUGHT = "was trained on it"


def places(done: Mapping[str, Path], name: str) -> Iterator[Place]:
    """Every place of the row called `name` in the run's finished artifacts, in the order of the chain."""
    if "collect" in done:
        folder = done["collect"]
        for file, number, row in rows(folder, name, "*conversations.jsonl", "prompts/*.jsonl", "evaluation/*.jsonl"):
            yield "collect", f"{file}, line {number}"
            kind = file.partition("/")[0]
            if kind == "prompts":
                yield from of_prompt(done, file, row)
            elif kind == "evaluation":
                yield from of_item(done, file, name)
            elif "sft" in done:
                where = of_conversation(done, file, number)
                yield "sft", where
                if where.startswith(TAUGHT):
                    yield from made_from(done, "sft")
    if "preferences" in done:
        yield from of_pairs(done, name)


def rows(folder: Path, name: str, *patterns: str) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(file, line, row) of every row of the name in files of JSON lines; of a prompt also its pairs' `<name>/0-1`."""
    for path in (path for pattern in patterns for path in sorted(folder.glob(pattern))):
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                # A prompt's pairs are called after it. Most lines do not hold the name, and need not be read as JSON.
                if name in line and f"{(row := json.loads(line)).get('id')}/".startswith(f"{name}/"):
                    yield path.relative_to(folder).as_posix(), number, row


def of_conversation(done: Mapping[str, Path], file: str, number: int) -> str:
    """What SFT did with collect's conversation in this line."""
    sealed = artifact.manifest(done["sft"]) or {}
    recipe, metrics, seed = sealed["recipe"], sealed["metrics"], sealed["seeds"]["run"]
    if recipe.get("data"):
        return "does not read it: sft.yaml names its own data"
    path = done["collect"] / file
    if file.startswith("heldout"):
        taken = number in chosen(path, NUM_HELDOUT, f"{seed}/sft/heldout")
        return f"was never trained on it: {'its held-out loss counts it' if taken else 'it is held out'}"
    among = chosen(path, recipe.get("max_rows"), f"{seed}/sft/rows")
    if number not in among:
        return f"was not trained on it: it is not among the {len(among)} that max_rows took"
    dropped = done["sft"] / "dropped.jsonl"
    for _, _, row in rows_of(dropped):
        if f"{row.get('id') or row.get('what')}:".startswith(
            (f"{path.name}, line {number}:", f"{path}, line {number}:")
        ):
            return f"was not trained on it: {row['reason']}"
    if (trained := int(metrics.get("conversations", len(among)))) < len(among):
        return (
            f"was trained on {trained} of the {len(among)} that it took, and does not keep on which: "
            f"{'dropped.jsonl has examples of what was left out' if dropped.is_file() else 'the rest was left out'}"
        )
    return f"{TAUGHT}, {epochs(done['sft'])}"


def rows_of(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    """(name, line, row) of a file of JSON lines; nothing where there is none."""
    if path.is_file():
        with path.open(encoding="utf-8") as lines:
            yield from ((path.name, number, json.loads(line)) for number, line in enumerate(lines, start=1))


def chosen(path: Path, count: int | None, purpose: str) -> set[int]:
    """The lines that pipeline.sft.data.sample takes of a file."""
    with path.open(encoding="utf-8") as lines:
        numbers = [number for number, line in enumerate(lines, start=1) if line.strip()]
    random.Random(purpose).shuffle(numbers)
    return set(numbers[:count])


def epochs(folder: Path) -> str:
    """How often a trainer went through its rows."""
    trainer = (artifact.manifest(folder) or {})["recipe"].get("trainer", {})
    if trainer.get("max_steps", -1) > 0:
        return f"if its {trainer['max_steps']} steps reached it"
    # The log's last line stands a few steps before the end.
    logged = max((row["epoch"] for _, _, row in rows_of(folder / "log.jsonl") if "epoch" in row), default=None)
    passes = trainer.get("num_train_epochs") or (logged and math.ceil(logged))
    if not passes:
        return "how often is not in its log"
    return "once" if passes == 1 else f"{passes:g} times"


def made_from(done: Mapping[str, Path], stage: str) -> Iterator[Place]:
    """All that was made from a stage's model."""
    made = {stage}
    for name, folder in done.items():
        if name not in MEASURING and made & (artifact.manifest(folder) or {})["inputs"].keys():
            made.add(name)
            yield name, "was made from the model that was trained on it"


def of_prompt(done: Mapping[str, Path], file: str, row: Mapping[str, Any]) -> Iterator[Place]:
    """What answered one of collect's prompts, and whether that taught anything."""
    if file == "prompts/rl.jsonl":
        for stage in (stage for stage in ("ppo", "grpo") if stage in done):
            sealed = artifact.manifest(done[stage]) or {}
            given = sealed["recipe"].get("prompts")
            used = f"{sealed['metrics']['prompts']:,.0f} of them" if "prompts" in sealed["metrics"] else "them"
            told = "its recipe names prompts of its own" if given else f"trained on its own answers to {used}"
            yield stage, f"does not read that file: {told}" if given else f"{told}; on which is not kept"
    if file == "prompts/evaluate.jsonl" and "evaluate" in done:
        yield "evaluate", asked(done["evaluate"], "prompts", row["prompt"][-1]["content"])


def asked(evaluate: Path, kind: str, text: str) -> str:
    """Whether an evaluation measured on this item: scores.json keeps a digest of each."""
    from pipeline.evaluate.exam import digest  # needs torch, which takes seconds

    path = evaluate / "scores.json"
    if not path.is_file():
        return f"which {kind} it measured on is not kept here"
    digests = json.loads(path.read_text(encoding="utf-8"))["items"].get(kind, [])
    measured = "measured every model on it" if digest(text) in digests else "did not measure on it"
    return f"{measured}: {len(digests)} {kind} were drawn"


def of_item(done: Mapping[str, Path], file: str, name: str) -> Iterator[Place]:
    """Who was searched for a benchmark's item, and what was dropped for it."""
    for stage in (stage for stage in SCREENED if stage in done):
        path = done[stage] / "certificates" / Path(file).with_suffix(".json").name
        if path.is_file():
            matches = json.loads(path.read_text(encoding="utf-8")).get("matches", [])
            number = sum(match["item"] == name for match in matches)
            yield stage, f"certificates/{path.name}: searched for it; dropped for holding it: {number}"


def of_pairs(done: Mapping[str, Path], name: str) -> Iterator[Place]:
    """The pairs of a prompt (or one of them), and what was trained on them."""
    folder = done["preferences"]
    found = {split: list(rows(folder, name, f"{split}.jsonl")) for split in ("train", "heldout", "dropped")}
    for _, number, row in found["dropped"]:
        yield "preferences", f"dropped.jsonl, line {number}: {row['reason']}"
    for split in ("train", "heldout"):
        if lines := [number for _, number, _ in found[split]]:
            where = f"line {lines[0]}" if len(lines) == 1 else f"{len(lines)} pairs from line {lines[0]} on"
            yield "preferences", f"{split}.jsonl, {where}"
            total = sum(1 for _ in rows_of(folder / f"{split}.jsonl"))
            for stage in (stage for stage in ("reward", "dpo") if stage in done):
                yield stage, of_pair(done[stage], split, total)


def of_pair(folder: Path, split: str, total: int) -> str:
    """What a stage that learns from pairs did with those of a split."""
    if split == "heldout":
        return "was never trained on them: its held-out figures count them, or a sample of them"
    used = int((artifact.manifest(folder) or {})["metrics"].get("pairs", -1))
    if used == total:
        return f"was trained on them, {epochs(folder)}"
    some = f"{used:,} pairs made of the {total:,} in that file" if used >= 0 else f"some of the {total:,} in that file"
    return f"was trained on {some}; which of them is not kept"
