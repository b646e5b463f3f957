"""What a card says about an artifact, read from the manifests of everything that it was made from.

Nothing is guessed: what no manifest, corpus or evaluation says is said to be unknown.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from pipeline import artifact
from pipeline.chain import CHAIN, MODEL_STAGES, SCREENED
from pipeline.hub.layout import Repo
from pipeline.render import without_paths
from pipeline.shown import spent
from pipeline.stage import UserError

MACHINE = ("seconds", "cpu_seconds", "hardware")


@dataclass(frozen=True, kw_only=True)
class Origin:
    """An artifact that another was made from. manifest: None where it is not on this machine."""

    stage: str
    fingerprint: str
    folder: Path
    manifest: dict[str, Any] | None

    @property
    def published(self) -> Repo | None:
        """Where it was published last, or pulled from."""
        known = self.manifest or {}
        places = [known.get("pulled"), *known.get("published", [])]
        named = [place for place in places if place]
        return Repo.parse(named[-1]) if named else None

    def json(self, file: str) -> Any:
        """A JSON file of the artifact; None where there is none."""
        path = self.folder / file
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def lineage(folder: Path) -> dict[str, Origin]:
    """The artifact in `folder` and all that it was made from, by stage, in the order of the chain."""
    found: dict[str, Origin] = {}
    sealed = artifact.manifest(folder)
    assert sealed is not None, f"{folder} is not finished"
    waiting = [origin(sealed["stage"], folder, sealed["fingerprint"])]
    while waiting:
        one = waiting.pop()
        found.setdefault(one.stage, one)
        for name, link in (one.manifest or {}).get("inputs", {}).items():
            if name not in found:
                waiting.append(origin(name, (one.folder.resolve() / link["folder"]).resolve(), link["fingerprint"]))
    return {stage.name: found[stage.name] for stage in CHAIN if stage.name in found}


def origin(stage: str, folder: Path, fingerprint: str) -> Origin:
    """The artifact in a folder, if it is the one that is meant. Of one that a recipe took from the Hub, the manifest
    that it had there: that says how it was made, and the one here only that it was fetched."""
    sealed = artifact.manifest(folder) if folder.is_dir() else None
    if sealed is None or sealed["fingerprint"] != fingerprint:
        return Origin(stage=stage, fingerprint=fingerprint, folder=Path("absent"), manifest=None)
    fetched = folder / "hub.json"
    if "hub" in sealed["recipe"] and fetched.is_file():
        there = json.loads(fetched.read_text(encoding="utf-8"))
        sealed = {**there["manifest"], "pulled": there["repo"]}
    return Origin(stage=stage, fingerprint=fingerprint, folder=folder, manifest=sealed)


def beside(run: Path, stage: str, sealed: Mapping[str, Any]) -> Origin | None:
    """The run's `evaluate` or `report`, which must be about this very artifact; None where the run has none.

    Raises UserError where it is unfinished, damaged, or about another artifact of this stage.
    """
    folder = run / stage
    if not folder.is_dir():
        return None
    again = f"Run `make {stage} RECIPE={run.name}` first."
    if problems := artifact.verify(folder):
        raise UserError(f"{problems[0]}. {again}")
    found = artifact.manifest(folder)
    assert found is not None, f"{folder} was verified"
    link = found["inputs"].get(sealed["stage"])
    if link is None:
        return None
    if link["fingerprint"] != sealed["fingerprint"]:
        raise UserError(f"{folder}: is about another {sealed['stage']} than {run / sealed['stage']}. {again}")
    return Origin(stage=stage, fingerprint=found["fingerprint"], folder=folder, manifest=found)


def sources(origins: Mapping[str, Origin]) -> list[dict[str, Any]]:
    """Rows {source, licence, documents} of the corpus, the largest first; [] where it is not here."""
    corpus = origins.get("corpus")
    if corpus is None or corpus.manifest is None:
        return []
    counts: Counter[tuple[str, str]] = Counter()
    for shard in sorted((corpus.folder / "train").glob("*.parquet")):
        for batch in pq.ParquetFile(shard).iter_batches(10_000, columns=["source", "licence"]):
            counts.update(zip(batch["source"].to_pylist(), batch["licence"].to_pylist(), strict=True))
    return [
        {"source": source, "licence": licence, "documents": number}
        for (source, licence), number in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def hub_data(origins: Mapping[str, Origin]) -> list[dict[str, Any]]:
    """Rows {stage, id, revision, config, split, licence} of the Hub's data sets that training read; "" where the
    recipe names no configuration or licence, "train" where it names no split."""
    rows = []
    for stage, one in origins.items():
        recipe = (one.manifest or {}).get("recipe", {})
        listed = [
            {**data, "hub": f"{data['path']}@{data['revision']}", "licence": source.get("licence")}
            for source in recipe.get("sources") or []
            if (data := source.get("dataset")) and data.get("revision")
        ]
        # The tables of sft, of preferences, and of ppo and grpo.
        tables = [*listed, *((recipe.get("data") or {}).get("sources") or []), recipe.get("dataset")]
        for table in (*tables, recipe.get("prompts")):
            if not isinstance(table, Mapping) or not table.get("hub"):
                continue
            name, _, revision = table["hub"].partition("@")
            split = table.get("split") or "train"
            known = {key: table.get(key) or "" for key in ("config", "licence")}
            rows.append({"stage": stage, "id": name, "revision": revision, "split": split, **known})
    return rows


def base(origins: Mapping[str, Origin]) -> Repo | None:
    """The model that the last of the origins was trained from, where the Hub has it: the one that its recipe names, or
    the one before it in the chain as it was published. A folder of this machine is nobody else's base."""
    *before, own = origins.values()
    named = (own.manifest or {}).get("recipe", {}).get("model")
    if own.stage == "sft" and named:
        return Repo(id=named["id"], kind="model", revision=named["revision"]) if named["revision"] else None
    models = [one for one in before if one.stage in MODEL_STAGES]
    return models[-1].published if models else None


def start(origins: Mapping[str, Origin]) -> Repo | None:
    """The nearest model on the Hub that the last of the origins was trained from, with unpublished ones between."""
    if not origins:
        return None
    return base(origins) or start(dict(list(origins.items())[:-1]))


def certificates(origins: Mapping[str, Origin]) -> list[dict[str, Any]]:
    """What was searched for: {stage, benchmark, items, ngram, documents_matched_and_dropped} of each benchmark.

    Of the corpus, and of the stages whose conversations, prompts or pairs entered training.
    """
    here = [(stage, origins[stage].folder) for stage in SCREENED if stage in origins and origins[stage].manifest]
    paths = [(stage, path) for stage, folder in here for path in sorted((folder / "certificates").glob("*.json"))]
    found = [{**json.loads(path.read_text(encoding="utf-8")), "stage": stage} for stage, path in paths]
    return [{key: value for key, value in one.items() if key != "matches"} for one in found]


def exact_share(origins: Mapping[str, Origin]) -> float:
    """Share of the held-out documents that the tokenizer gives back exactly; 1 where nothing says otherwise."""
    tokenizer = origins.get("tokenizer")
    known = (tokenizer.manifest or {}).get("metrics", {}) if tokenizer else {}
    return float(known.get("exact_share", 1.0))


def languages(origins: Mapping[str, Origin]) -> list[str]:
    """The languages that the corpus was filtered for."""
    corpus = origins.get("corpus")
    recipe = corpus.manifest["recipe"] if corpus and corpus.manifest else {}
    return list(recipe.get("languages") or [])


def costs(origins: Mapping[str, Origin]) -> list[dict[str, Any]]:
    """Rows {stage, seconds, cpu_seconds, machine, energy_joules, usd}; None for what no manifest here says."""
    rows = []
    for name, origin in origins.items():
        known = origin.manifest or {}
        row: dict[str, Any] = {
            "stage": name,
            "seconds": None,
            "cpu_seconds": None,
            "machine": "",
            "energy_joules": None,
            "usd": None,
        }
        if all(key in known for key in MACHINE):
            row |= {"seconds": known["seconds"], "cpu_seconds": known["cpu_seconds"]}
            row |= {"machine": machine(known["hardware"]), "energy_joules": known.get("energy_joules")}
            row["usd"] = spent(known)
        rows.append(row)
    return rows


def recipes(origins: Mapping[str, Origin]) -> dict[str, dict[str, Any]]:
    """The resolved recipe of each stage that is here; of a folder on the user's machine only its name."""
    return {name: without_paths(one.manifest["recipe"]) for name, one in origins.items() if one.manifest}


def parameters(model: Path) -> int:
    """How many numbers the weights hold, from the headers of the safetensors files."""
    number = 0
    for path in model.glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        number += sum(math.prod(tensor["shape"]) for name, tensor in header.items() if name != "__metadata__")
    return number


def machine(hardware: Mapping[str, Any]) -> str:
    """`Linux x86_64, 2 cores, 25 GB, no accelerator`."""
    accelerators = ", ".join(hardware["accelerators"]) or "no accelerator"
    memory = hardware["memory_bytes"] / 1e9
    return f"{hardware['system']} {hardware['machine']}, {hardware['cores']} cores, {memory:.0f} GB, {accelerators}"
