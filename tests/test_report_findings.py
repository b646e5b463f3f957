"""What to look at: every check finds its fault in a log that was made to have it, and nothing in one that has not."""

import math
import random
from dataclasses import replace

import pytest

from pipeline.report import result_checks, training_checks
from pipeline.report.findings import Blind, Check, Facts, Finding, ends, look, noise
from pipeline.report.result_checks import (
    chooses_by_length,
    dirt,
    forgetting,
    greedy_filter,
    no_gain,
    past_the_best,
    proxy_against_truth,
    uncertified,
    unused_vocabulary,
)
from pipeline.report.training_checks import (
    alike,
    clipping,
    overfitting,
    plateau,
    rate_at_its_limit,
    skipped,
    slower,
    spikes,
    unended,
    vanishing_chosen,
)

STEPS = range(10, 1010, 10)


def jitter(step: int, size: float = 0.01) -> float:
    return random.Random(step).gauss(0.0, size)


def falling(step: float) -> float:
    return 1.0 + 3.0 * math.exp(-step / 200)


def cosine(step: float) -> float:
    return 1e-3 * min(step / 50, 0.5 + 0.5 * math.cos(math.pi * step / 1000))


def log(loss=falling, **more) -> list[dict]:
    """A healthy log of 100 lines; `more` are functions of the step."""
    figures = {"loss": loss, "learning_rate": cosine, "grad_norm": lambda step: 0.5, **more}
    return [
        {"step": step} | {key: one(step) + (jitter(step) if key == "loss" else 0.0) for key, one in figures.items()}
        for step in STEPS
    ]


def heldout(values: list[float]) -> list[dict]:
    every = 1000 // len(values)
    return [{"step": every * (n + 1), "heldout_bits_per_byte": value} for n, value in enumerate(values)]


def facts(stage: str = "pretrain", rows: list[dict] | None = None, **metrics: float) -> Facts:
    return Facts(logs={stage: log() if rows is None else rows}, metrics={stage: metrics})


def results(**found: tuple[float, float, float]) -> dict[str, float]:
    return {name + part: one[i] for name, one in found.items() for i, part in enumerate(("", "_low", "_high"))}


def judged(stage: str, rows: list[dict], **found: tuple[float, float, float]) -> Facts:
    return Facts(logs={stage: rows}, metrics={stage: {}, "evaluate": results(**found)})


def judged_bits(**found: float) -> Facts:
    return Facts(metrics={"sft": {}, "evaluate": found})


def optimised(*gold: float) -> Facts:
    rows = [
        {"kl": 1.0 + i, "score": i / 2, "gold": value, "gold_low": value - 0.02, "gold_high": value + 0.02}
        for i, value in enumerate(gold)
    ]
    return Facts(optimised=rows)


def ppo(reward=lambda step: step / 100, **more) -> list[dict]:
    return [{"step": n, "score": reward(n) + jitter(n), **{k: f(n) for k, f in more.items()}} for n in range(1, 31)]


def step_down(step: float) -> float:
    """Stands still while the rate is at its peak (to step 210 of a cosine), then learns."""
    return 3.0 if step <= 210 else 1.0 + 2.0 * math.exp(-(step - 210) / 150)


def constant_then_falling(step: float) -> float:
    return 1e-3 if step <= 500 else 1e-3 * (1000 - step) / 500


WORSE, SAME, BETTER = (-0.05, -0.08, -0.02), (0.004, -0.002, 0.01), (0.05, 0.02, 0.08)
FUNNEL = {"step": "language", "read": 100, "kept": 90, "dropped": {"language": 10}, "edited": {}}
LIMITED = {"pretrain": {"max_grad_norm": 1.0}}

# check, facts that have the fault, words of the finding, facts that have it not.
FAULTS = [
    (overfitting, facts(rows=log() + heldout([0.9, 0.6, 0.5, 0.53, 0.6])), "Validation rises", [
        facts(rows=log() + heldout([0.9, 0.6, 0.5, 0.49, 0.48])),
        # One bump and back down, and a rise at the very end that may be chance.
        facts(rows=log() + heldout([0.9, 0.5, 0.55, 0.49, 0.48])),
        facts(rows=log() + heldout([0.9, 0.7, 0.6, 0.5, 0.53])),
        # Both rise: that is no overfitting.
        facts(rows=log(loss=lambda step: 1 + abs(step - 600) / 300) + heldout([0.9, 0.6, 0.5, 0.53, 0.6])),
        facts(rows=heldout([0.9, 0.6, 0.5, 0.53, 0.6])),
    ]),
    (plateau, facts("reward", log(loss=lambda step: 0.693)), "flat from the start", [
        facts(), facts("reward", log(loss=lambda step: 0.693)[:5]),
        facts("reward", log(loss=lambda step: 0.693 - step / 10_000)),
    ]),
    (plateau, facts("dpo", log(lambda step: 6.3, **{"rewards/margins": lambda step: 0.0})), "flat from the start", [
        # The margin grows while another term holds the loss up.
        facts("dpo", log(lambda step: 6.3, **{"rewards/margins": lambda step: step / 1_000})),
        # It is there at once, and noisy.
        facts("dpo", log(lambda step: 6.3, **{"rewards/margins": lambda step: 1.0 + jitter(step, 0.5)})),
    ]),
    (plateau, facts("ppo", ppo(lambda step: 1.0)), "reward does not rise", [facts("ppo", ppo())]),
    (spikes, facts(rows=log(loss=lambda step: 9.0 if step == 500 else falling(step))), "One spike in the loss.", [
        facts(),
        # A new level is another kind of data, noise is noise.
        facts(rows=[{**row, "loss": row["loss"] + (0.2 if row["step"] > 500 else 0)} for row in log()]),
        facts(rows=[{**row, "loss": row["loss"] + jitter(row["step"], 0.1)} for row in log()]),
    ]),
    (spikes, facts(rows=log(loss=lambda step: 9.0 if step in (300, 700) else falling(step))), "2 spikes", [facts()]),
    (spikes, facts(rows=log(loss=lambda step: 9.0 + step / 99 if step > 800 else falling(step))), "not come back", []),
    (rate_at_its_limit, facts("sft", log(loss=step_down)), "learning rate is at its limit", [
        facts("sft"),
        facts("sft", log(learning_rate=constant_then_falling)),
        # The training text changed, not the progress: validation fell all the time.
        facts("sft", log(loss=step_down) + heldout([0.9 - n / 40 for n in range(20)])),
    ]),
    (clipping, replace(facts(rows=log(gradient_norm=lambda step: 3.0)), recipes=LIMITED), "gradients are clipped", [
        replace(facts(), recipes=LIMITED),
        replace(facts(rows=log(gradient_norm=lambda step: 3.0)), recipes={"pretrain": {"max_grad_norm": 5.0}}),
        replace(facts(rows=log(gradient_norm=lambda step: 3.0 if step < 90 else 0.4)), recipes=LIMITED),
    ]),
    (skipped, facts(skipped_steps=2), "were left out", [facts(skipped_steps=0), facts()]),
    (skipped, facts(skipped_spikes=2), "far above the ones before", [facts(skipped_spikes=0)]),
    (slower, facts(rows=log(tokens_per_second=lambda step: 9000 - 5 * step)), "slowed down", [
        facts(rows=log(tokens_per_second=lambda step: 9000 - step)), facts(),
    ]),
    (unended, facts("ppo", ppo(ended=lambda step: 1 - step / 50)), "stop ending", [
        facts("ppo", ppo(ended=lambda step: 0.97)), facts("ppo", ppo()),
    ]),
    (past_the_best, optimised(0.90, 0.95, 0.85), "over-optimised", [
        optimised(0.90, 0.95, 0.94), optimised(0.95, 0.85),
    ]),
    (alike, facts("grpo", groups_all_alike_last=0.7), "all alike", [facts("grpo", groups_all_alike_last=0.2)]),
    (vanishing_chosen, facts("dpo", logps_chosen_before=-100.0, logps_chosen=-150.0), "chosen answers much less", [
        facts("dpo", logps_chosen_before=-100.0, logps_chosen=-104.0), facts("dpo"),
    ]),
    (proxy_against_truth, judged("ppo", ppo(), ppo_minus_sft_gold=WORSE), "the gold judge's score falls", [
        judged("ppo", ppo(), ppo_minus_sft_gold=SAME), judged("ppo", ppo(), ppo_minus_sft_gold=BETTER),
        judged("ppo", ppo(lambda step: 1.0), ppo_minus_sft_gold=WORSE), judged("ppo", ppo()),
    ]),
    (proxy_against_truth, judged(
        "dpo", log(**{"rewards/margins": lambda step: step / 1000}), dpo_minus_sft_rouge_l=WORSE
    ), "ROUGE-L falls", [judged("dpo", log(), dpo_minus_sft_rouge_l=WORSE)]),
    (no_gain, judged("dpo", [], dpo_minus_sft_gold=SAME), "by no more than noise", [
        judged("dpo", [], dpo_minus_sft_gold=BETTER), judged("dpo", [], dpo_minus_sft_gold=WORSE), judged("dpo", []),
    ]),
    (forgetting, judged_bits(pretrain_bits_per_byte=0.5, sft_bits_per_byte=0.9), "it forgot", [
        judged_bits(pretrain_bits_per_byte=0.5, sft_bits_per_byte=0.55),
        judged_bits(sft_bits_per_byte=0.9),
    ]),
    (chooses_by_length, facts(
        "reward", **results(accuracy_gold=(0.62, 0.58, 0.66)), accuracy_longer=0.4, accuracy_shorter=0.6
    ), "choosing the shorter", [
        facts("reward", **results(accuracy_gold=(0.9, 0.88, 0.92)), accuracy_longer=0.4, accuracy_shorter=0.6),
        facts("reward"),
    ]),
    (uncertified, Facts(certificates=[{"benchmark": "stories", "status": "uncertified", "reason": "none"}]),
     "stories are uncertified", [Facts(certificates=[{"benchmark": "stories", "status": "certified", "reason": ""}])]),
    (greedy_filter, Facts(funnel=[{**FUNNEL, "kept": 50, "dropped": {"language": 50}}]), "language drops 50 %", [
        Facts(funnel=[FUNNEL]), Facts(funnel=[{**FUNNEL, "read": 0, "dropped": {}}]),
    ]),
    (dirt, facts("corpus", **results(planted_recall_near_copy=(0.8, 0.75, 0.85))), "planted near copy stayed", [
        facts("corpus", **results(planted_recall_near_copy=(0.94, 0.9, 0.97))), facts("corpus"),
    ]),
    (dirt, facts("corpus", **results(clean_lost=(0.05, 0.04, 0.06))), "clean documents were lost", [
        facts("corpus", **results(clean_lost=(0.02, 0.015, 0.025))),
    ]),
    (unused_vocabulary, facts("tokenizer", unused_vocabulary_share=0.6), "60 % of the vocabulary", [
        facts("tokenizer", unused_vocabulary_share=0.1), facts("tokenizer"),
    ]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("check", "faulty", "words", "healthy"), FAULTS, ids=[f"{c[0].__name__}-{c[2]}" for c in FAULTS]
)
def test_a_check_finds_its_fault_and_nothing_else(check, faulty, words, healthy):
    (found,) = (one for one in check(faulty) if isinstance(one, Finding))
    assert words in found.what
    assert any(sign.isdigit() for sign in found.evidence) or check is uncertified
    for one in healthy:
        assert [seen for seen in check(one) if isinstance(seen, Finding)] == []


def test_every_check_is_among_those_that_are_tested():
    listed = {check.find for check in (*training_checks.CHECKS, *result_checks.CHECKS)}
    assert listed == {fault[0] for fault in FAULTS}


def test_a_finding_names_steps_and_figures():
    (found,) = overfitting(facts(rows=log() + heldout([0.9, 0.6, 0.5, 0.53, 0.6])))
    assert "0.500 at step 600, 0.600 at step 1,000 (+20 %)" in found.evidence and found.grave
    (found,) = spikes(facts(rows=log(loss=lambda step: 9.0 if step == 500 else falling(step))))
    assert "At step 500" in found.evidence and "gradient norm of 0.500" in found.evidence


def test_the_grave_come_first_and_what_was_not_found_is_named():
    mild, grave = (Finding(stage="sft", what=what, evidence="1", grave=what == "grave") for what in ("mild", "grave"))
    checks = [
        Check(looks_for="a", needs=("sft",), find=lambda _: [mild]),
        Check(looks_for="b", needs=("sft", "dpo"), find=lambda _: [grave]),
        Check(looks_for="c", needs=("sft",), find=lambda _: []),
        Check(looks_for="d", needs=("ppo",), find=lambda _: []),
    ]
    assert look(facts("sft"), checks) == ([grave, mild], ["c"], [("d", ["the run has no ppo"])])


def test_what_could_not_be_looked_for_is_no_silence():
    blind = Blind(stage="sft", why="its log is empty")
    checks = [
        Check(looks_for="a", needs=("sft",), find=lambda _: [blind]),
        Check(looks_for="b", needs=("sft", "dpo"), find=lambda _: [blind]),
        Check(looks_for="c", needs=("grpo",), find=lambda _: []),
    ]
    why = ["sft: its log is empty"]
    assert look(facts("sft"), checks) == ([], [], [("a", why), ("b", why)])
    both = Facts(metrics={"sft": {}, "dpo": {}})
    # Of b one stage was looked at.
    assert look(both, checks) == ([], ["b"], [("a", why), ("b", why)])


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (overfitting(facts(rows=log())), "fewer than 3 held-out figures in its log"),
        (overfitting(facts(rows=heldout([0.9, 0.6, 0.5]))), "fewer than 10 losses in its log"),
        (overfitting(facts(rows=log() + [{"step": 999 + n, "eval_loss": v} for n, v in enumerate((0.5, 0.6, 0.7))])),
         "fewer than 4 logged losses since"),
        (plateau(facts(rows=log()[:9])), "fewer than 10 losses"), (plateau(facts("ppo", [])), "fewer than 10 rewards"),
        (spikes(facts(rows=[])), "fewer than 10 losses"), (rate_at_its_limit(facts(rows=[])), "fewer than 20 losses"),
        (rate_at_its_limit(facts(rows=log(learning_rate=lambda step: 1e-3))), "fewer than 8 losses in its log while"),
        (clipping(facts(rows=[{"step": 1, "loss": 1.0}])), "fewer than 4 gradient norms"),
        (skipped(facts("sft")), "do not count them"), (slower(facts()), "fewer than 10 speeds"),
        (unended(facts("ppo", ppo())), "fewer than 4 shares"), (alike(facts("grpo")), "do not count them"),
        (vanishing_chosen(facts("dpo")), "no log-probabilities"),
        (proxy_against_truth(facts("ppo", [])), "fewer than 4 rewards in its log"),
        (proxy_against_truth(facts("ppo", ppo())), "no paired difference"), (no_gain(facts("dpo")), "no paired"),
        (past_the_best(facts("ppo")), "at three times"), (forgetting(facts("sft")), "and of the base model"),
        (chooses_by_length(facts("reward")), "what length alone would reach"),
        (uncertified(facts("evaluate")), "on no benchmark"), (greedy_filter(facts("corpus")), "kept no count"),
        (dirt(facts("corpus")), "no dirt was planted"), (unused_vocabulary(facts("tokenizer")), "do not count unused"),
    ],
)  # fmt: skip
def test_a_check_that_lacks_what_it_reads_says_so(seen, why):
    (blind,) = seen
    assert isinstance(blind, Blind) and why in blind.why


def test_noise_is_what_scatters_and_not_what_slopes():
    slope = [(float(n), 5.0 - n / 10) for n in range(100)]
    assert noise(slope) == pytest.approx(0.0, abs=1e-12)
    scattered = [(x, y + random.Random(x).gauss(0, 0.3)) for x, y in slope]
    assert 0.2 < noise(scattered) < 0.4
    assert noise(slope[:3]) == math.inf
    assert ends(slope)[:2] == (pytest.approx(4.05), pytest.approx(-3.95))
