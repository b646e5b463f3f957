"""Report: one self-contained HTML page about a run, which opens offline. Reads the manifests, logs and samples of
every stage; writes index.html. A stage that the run leaves out is a said gap. `make report RECIPE=storyworld`
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline import shown
from pipeline.artifact import write_atomically
from pipeline.render import environment
from pipeline.report import lineage, result_checks, training_checks
from pipeline.report.aligned import side_by_side
from pipeline.report.findings import Facts, look
from pipeline.report.read import Sealed, stages
from pipeline.report.recipe import STAGE, Recipe
from pipeline.report.sections import (
    TRAINING,
    corpus_section,
    evaluation_section,
    hardware,
    provenance,
    tokenizer_section,
    training_section,
)
from pipeline.stage import Job, UserError

HERE = Path(__file__).parent


def run(job: Job) -> dict[str, float]:
    """Writes index.html; returns how many stages it shows, how many it has to leave out, and what it found."""
    found = stages(job.inputs, STAGE.reads)
    sealed = {name: one for name, one in found.items() if one is not None}
    if not sealed:
        raise UserError("report: the run has no finished stage yet. Run `make all` first.")
    values = context(job.run_name, job.recipe, found)
    page = render(values)
    write_atomically(job.out / "index.html", page)
    return {
        "stages": len(sealed),
        "stages_left_out": len(found) - len(sealed),
        "findings": len(values["findings"]),
        "findings_grave": sum(finding.grave for finding in values["findings"]),
        "page_bytes": len(page.encode()),
    }


def render(values: Mapping[str, Any]) -> str:
    """The page. Everything from a run is escaped; what a template names and does not get is an error."""
    templates = environment(HERE, html=True)
    templates.filters |= {
        "number": shown.number,
        "figure": shown.precise,
        "short": shown.short,
        "duration": shown.duration,
        "size": shown.size,
        "energy": shown.energy,
        "money": shown.money,
        "counts": shown.counts,
        "words": lambda name: name.replace("_", " "),
    }
    # Our own files and the library's, which hold no text of a run.
    templates.globals["asset"] = lambda name: Markup((HERE / name).read_text(encoding="utf-8"))
    return templates.get_template("page.html").render(values)


def context(run_name: str, recipe: Recipe, found: Mapping[str, Sealed | None], public: bool = False) -> dict[str, Any]:
    """Everything that page.html names. public: without texts of the data that are not to be published."""
    if public:
        recipe = recipe.model_copy(update={"num_dropped": 0})
    sealed = [one for one in found.values() if one]
    corpus, tokenizer, evaluate = found["corpus"], found["tokenizer"], found["evaluate"]
    evaluation = evaluation_section(evaluate, recipe) if evaluate else None
    training = {name: one and training_section(name, one, evaluate) for name, one in found.items() if name in TRAINING}
    for one in (one for one in training.values() if one and public):
        one["mask"] = None
    findings, silent, blind = look(facts(found), (*training_checks.CHECKS, *result_checks.CHECKS))
    aligned = side_by_side(found)
    return {
        "title": recipe.title or run_name,
        "run_name": run_name,
        "headline": headline(found),
        "findings": findings,
        "silent": silent,
        "blind": blind,
        "chain": lineage.picture(found),
        "costs": lineage.costs(found),
        "machines": list(dict.fromkeys(filter(None, map(hardware, sealed)))),
        "corpus": corpus_section(corpus, recipe) if corpus else None,
        "tokenizer": tokenizer_section(tokenizer) if tokenizer else None,
        "training": [(name, TRAINING[name], one) for name, one in training.items()],
        "charts": {name: one["charts"] for name, one in training.items() if one},
        "preferences": {"figures": shown.figures(found["preferences"].metrics)} if found["preferences"] else None,
        "aligned": aligned,
        "evaluation": evaluation,
        "provenance": [provenance(one) for one in sealed],
        "packages": sorted(sealed[-1].manifest.get("packages", {}).items()),
        "sections": sections(corpus is not None, list(training), aligned is not None, evaluation),
    }


def sections(
    has_corpus: bool, training: Sequence[str], aligned: bool, evaluation: Mapping[str, Any] | None
) -> list[tuple[str, str]]:
    """The ids and names of the page's sections, for its contents."""
    names = {"look": "what to look at", "chain": "the chain", "corpus": "corpus"}
    names |= {"dirt": "planted dirt"} if has_corpus else {}
    names |= {"tokenizer": "tokenizer"}
    names |= {name: TRAINING[name] if TRAINING[name].isupper() else TRAINING[name].lower() for name in training}
    names |= {"aligned": "alignment"} if aligned else {}
    names |= {"evaluate": "evaluation"}
    names |= {"differences": "differences"} if evaluation and evaluation["differences"] else {}
    names |= {"answers": "answers"} if evaluation else {}
    return [*names.items(), ("provenance", "provenance")]


def facts(found: Mapping[str, Sealed | None]) -> Facts:
    """What the findings are found in."""
    sealed = {name: one for name, one in found.items() if one}
    results = (sealed["evaluate"].json("results.json") or {}) if "evaluate" in sealed else {}
    return Facts(
        logs={name: one.rows("log.jsonl") for name, one in sealed.items() if name in TRAINING},
        metrics={name: one.metrics for name, one in sealed.items()},
        recipes={name: one.manifest["recipe"] for name, one in sealed.items()},
        funnel=(sealed["corpus"].json("funnel.json") or []) if "corpus" in sealed else [],
        certificates=results.get("certificates", []),
        optimised=results.get("optimised", []),
    )


def headline(found: Mapping[str, Sealed | None]) -> list[tuple[str, str]]:
    """The few numbers at the top."""
    sealed = [one.manifest for one in found.values() if one]
    rows = [
        ("from raw text to here", shown.duration(sum(m["seconds"] for m in sealed))),
        ("peak memory of a process", shown.size(max(m["peak_memory_bytes"] for m in sealed))),
    ]
    if found["pretrain"] and "parameters" in found["pretrain"].metrics:
        rows.append(("parameters", shown.short(found["pretrain"].metrics["parameters"])))
    results = found["evaluate"].metrics if found["evaluate"] else {}
    for stage in ("grpo", "ppo", "dpo", "sft"):
        for metric, told in (("wishes_met", "all wishes met"), ("rouge_l", "ROUGE-L")):
            if f"{stage}_{metric}" in results:
                rows.append((f"{told}, {stage}", shown.number(results[f"{stage}_{metric}"])))
    if "pretrain_bits_per_byte" in results:
        rows.append(("bits per byte, base", shown.number(results["pretrain_bits_per_byte"])))
    return rows
