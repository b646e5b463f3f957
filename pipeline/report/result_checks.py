"""Checks of results: the corpus, the tokenizer, the reward model, and what the evaluation says of each stage."""

from collections.abc import Iterator
from typing import Any

from pipeline.report.findings import DRAWN, Blind, Check, Facts, Finding, Seen, ends
from pipeline.report.training_checks import ENOUGH
from pipeline.shown import number

ALIGNED = ("dpo", "ppo", "grpo")
CHATS = ("sft", *ALIGNED)
# Where higher is better and which a reward model stands in for, in the order in which one is looked at.
TRUTHS = {"gold": "the gold judge's score", "rouge_l": "ROUGE-L", "wishes_met": "the share of wishes met"}
MOST_DROPPED = 0.3  # of what reaches a step
MOST_UNUSED = 0.3  # of the vocabulary
LEAST_RECALL, MOST_LOST = 0.95, 0.02  # of planted dirt, of clean documents
UNPAIRED = "the evaluation has no paired difference of it from sft"
FORGOTTEN = 1.25  # bits per byte, beside the base model's


def interval(metrics: Any, name: str) -> tuple[float, float, float] | None:
    """(value, low, high) of a metric that has all three."""
    if not all(name + part in metrics for part in ("", "_low", "_high")):
        return None
    return metrics[name], metrics[name + "_low"], metrics[name + "_high"]


def bracketed(found: tuple[float, float, float]) -> str:
    """`0.004 [-0.002, 0.010]`."""
    return f"{found[0]:.3f} [{found[1]:.3f}, {found[2]:.3f}]"


def proxy_against_truth(facts: Facts) -> Iterator[Seen]:
    """The reward that is optimised rises while what it stands for falls: over-optimisation."""
    results = facts.metrics.get("evaluate", {})
    for stage, keys in (*((stage, ("score", "reward")) for stage in DRAWN), ("dpo", ("rewards/margins",))):
        if not facts.among([stage]):
            continue
        proxy = facts.points(stage, *keys)
        changes = {metric: found for metric in TRUTHS if (found := interval(results, f"{stage}_minus_sft_{metric}"))}
        if len(proxy) < 4 or not changes:
            yield Blind(stage=stage, why=UNPAIRED if len(proxy) >= 4 else "fewer than 4 rewards in its log")
            continue
        # A short log is judged by its ends alone.
        first, last, chance = ends(proxy)
        if last - first <= (chance if len(proxy) >= ENOUGH else 0.0):
            continue
        for metric, change in changes.items():
            words = TRUTHS[metric]
            if change[2] < 0:
                yield Finding(
                    stage=stage,
                    what=f"The reward rises while {words} falls: the reward is being gamed.",
                    evidence=f"{'Reward margin' if stage == 'dpo' else 'Reward'} in training: {number(first)} to "
                    f"{number(last)}. {words[0].upper()}{words[1:]}, {stage} minus sft: {bracketed(change)}.",
                    advice="A higher KL coefficient or beta, fewer steps, or a reward model with more pairs.",
                    grave=True,
                )
                break


def past_the_best(facts: Facts) -> Iterator[Seen]:
    """PPO that went on after the gold judge's score of its answers had begun to fall."""
    if len(facts.optimised) < 3:
        yield Blind(stage="ppo", why="the evaluation has no gold score of its answers at three times or more")
        return
    best, last = max(facts.optimised, key=lambda row: row["gold"]), facts.optimised[-1]
    if best["gold_low"] > last["gold_high"]:
        yield Finding(
            stage="ppo",
            what="The gold judge's score of PPO's answers fell before the training had ended: it was over-optimised.",
            evidence=f"{number(best['gold'])} at {number(best['kl'])} nats an answer, {number(last['gold'])} at "
            f"{number(last['kl'])}, while the reward went from {number(best['score'])} to {number(last['score'])}.",
            advice=f"Stop where it was best: kl_budget: {number(best['kl'])}, or a higher kl_coef.",
            grave=True,
        )


def no_gain(facts: Facts) -> Iterator[Seen]:
    """An aligned model that is not better than the chat model that it was made from, beyond noise."""
    results = facts.metrics.get("evaluate", {})
    for stage in facts.among(ALIGNED):
        known = ((m, interval(results, f"{stage}_minus_sft_{m}")) for m in TRUTHS)
        metric, change = next(((m, found) for m, found in known if found), ("", None))
        if change is None:
            yield Blind(stage=stage, why=UNPAIRED)
        elif change[1] <= 0 <= change[2]:
            yield Finding(
                stage=stage,
                what=f"{stage.upper()} changed {TRUTHS[metric]} by no more than noise.",
                evidence=f"{stage} minus sft, paired: {bracketed(change)}; the interval holds zero.",
                advice="More pairs or more evaluation prompts would tell; so might another beta or learning rate.",
            )


def forgetting(facts: Facts) -> Iterator[Seen]:
    """Fine-tuning that made ordinary text much more surprising."""
    results = facts.metrics.get("evaluate", {})
    base = results.get("pretrain_bits_per_byte")
    for stage in facts.among(CHATS):
        own = results.get(f"{stage}_bits_per_byte")
        if not base or not own:
            yield Blind(stage=stage, why="the evaluation has no bits per byte of it and of the base model")
        elif own > FORGOTTEN * base:
            yield Finding(
                stage=stage,
                what="Held-out text costs this model much more than the base model: it forgot some of it.",
                evidence=f"{number(base)} bits per byte for the base model, {number(own)} for {stage} "
                f"({100 * (own / base - 1):+.0f} %).",
                advice="To be expected of a chat model. If it has to write both, mix in corpus text, or use LoRA.",
            )
            return  # what comes after it inherits it


def chooses_by_length(facts: Facts) -> Iterator[Seen]:
    """A reward model that does no better than one which looks at length alone."""
    found = facts.metrics.get("reward", {})
    own = interval(found, "accuracy_gold") or interval(found, "accuracy")
    lengths = {words: found[key] for words in ("longer", "shorter") if (key := f"accuracy_{words}") in found}
    if not own or not lengths:
        yield Blind(stage="reward", why="its metrics lack its accuracy's interval, or what length alone would reach")
        return
    by_length = max(lengths, key=lambda words: lengths[words])
    if own[1] <= lengths[by_length]:
        yield Finding(
            stage="reward",
            what=f"The reward model is no better than choosing the {by_length} answer.",
            evidence=f"Its accuracy on unseen pairs: {bracketed(own)}. The {by_length} one: "
            f"{number(lengths[by_length])}.",
            advice="More pairs, pairs of like length, or a larger model; do not optimise against this one.",
            grave=True,
        )


def uncertified(facts: Facts) -> Iterator[Seen]:
    """A benchmark whose items may stand in the training text."""
    if not facts.certificates:
        yield Blind(stage="evaluate", why="it measured on no benchmark")
    for one in facts.certificates:
        if one["status"] != "certified":
            yield Finding(
                stage="evaluate",
                what=f"The figures on {one['benchmark']} are {one['status']}: its items may be in the training text.",
                evidence=f"{one['reason']}.",
                advice="Let the corpus stage search for the benchmark.",
                grave=True,
            )


def greedy_filter(facts: Facts) -> Iterator[Seen]:
    """A corpus step that drops much of what reaches it."""
    if not facts.funnel:
        yield Blind(stage="corpus", why="it kept no count of what each step dropped")
    for row in facts.funnel:
        gone = sum(row["dropped"].values())
        if row["read"] and gone > MOST_DROPPED * row["read"]:
            reason = max(row["dropped"], key=row["dropped"].get)
            step = row["step"].replace("_", " ")
            yield Finding(
                stage="corpus",
                what=f"The step {step} drops {100 * gone / row['read']:.0f} % of what it gets.",
                evidence=f"{gone:,} of {row['read']:,} documents, most for {reason.replace('_', ' ')}.",
                advice="Read the examples of what was dropped below before you believe it.",
            )


def dirt(facts: Facts) -> Iterator[Seen]:
    """Planted dirt that stayed, or clean documents that were lost."""
    found = facts.metrics.get("corpus", {})
    if not any(name.startswith(("planted_recall_", "clean_lost")) for name in found):
        yield Blind(stage="corpus", why="no dirt was planted")
    for name in found:
        if name.startswith("planted_recall_") and (one := interval(found, name)) and one[2] < LEAST_RECALL:
            kind = name.removeprefix("planted_recall_").replace("_", " ")
            yield Finding(
                stage="corpus",
                what=f"Much of the planted {kind} stayed in the corpus.",
                evidence=f"Removed: {bracketed(one)}.",
                grave=True,
            )
    lost = interval(found, "clean_lost")
    if lost and lost[1] > MOST_LOST:
        yield Finding(
            stage="corpus",
            what="Many clean documents were lost.",
            evidence=f"Share lost: {bracketed(lost)}.",
            grave=True,
        )


def unused_vocabulary(facts: Facts) -> Iterator[Seen]:
    """A vocabulary much of which held-out text never uses."""
    found = facts.metrics.get("tokenizer", {})
    share = found.get("unused_vocabulary_share")
    if share is None:
        yield Blind(stage="tokenizer", why="its metrics do not count unused entries")
    elif share > MOST_UNUSED:
        yield Finding(
            stage="tokenizer",
            what=f"{100 * share:.0f} % of the vocabulary occurs in no held-out document.",
            evidence=f"Of {found.get('vocabulary_size', 0):,.0f} entries, over {found.get('heldout_tokens', 0):,.0f} "
            "held-out tokens.",
            advice="A smaller vocabulary would spend fewer parameters on embeddings; few held-out tokens tell less.",
        )


CHECKS = (
    Check(looks_for="a reward that rises while what it stands for falls", needs=ALIGNED, find=proxy_against_truth),
    Check(looks_for="PPO past its best", needs=("ppo",), find=past_the_best),
    Check(looks_for="alignment without a gain", needs=ALIGNED, find=no_gain),
    Check(looks_for="forgetting", needs=CHATS, find=forgetting),
    Check(looks_for="a reward model that goes by length", needs=("reward",), find=chooses_by_length),
    Check(looks_for="benchmarks without a certificate", needs=("evaluate",), find=uncertified),
    Check(looks_for="a filter that drops much of the corpus", needs=("corpus",), find=greedy_filter),
    Check(looks_for="dirt that stayed and clean text that went", needs=("corpus",), find=dirt),
    Check(looks_for="a vocabulary that is too large", needs=("tokenizer",), find=unused_vocabulary),
)
