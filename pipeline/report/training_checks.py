"""Checks of training logs: what goes wrong while a model learns, and how the log shows it."""

from collections.abc import Iterator

import numpy as np

from pipeline.report.findings import DRAWN, Blind, Check, Facts, Finding, Points, Seen, ends, noise, values
from pipeline.shown import number

FITTED = ("pretrain", "sft", "reward", "dpo")
TRAINED = (*FITTED, *DRAWN)  # where answers are drawn, the loss is no measure of progress
VALIDATION = ("heldout_bits_per_byte", "heldout_loss", "eval_loss")
ENOUGH = 10  # points of a curve, below which nothing is said about its shape
LOSSES = f"{ENOUGH} losses"
RISE = 0.02  # of its lowest value, above which a validation figure has risen
SPIKE = 8.0  # standard deviations of the noise above the steps before
CLIPPED = 0.5  # share of steps
SLOWER = 0.67  # of the speed at the start
LEAST_ENDED = 0.9  # share of drawn answers that end
MOST_ALIKE = 0.5  # of GRPO's groups of answers


def overfitting(facts: Facts) -> Iterator[Seen]:
    """Validation turns up for good while the training loss goes on falling."""
    for stage in facts.among(FITTED):
        validation, training = facts.points(stage, *VALIDATION), facts.points(stage, "loss")
        if len(validation) < 3 or len(training) < ENOUGH:
            few = "3 held-out figures" if len(validation) < 3 else LOSSES
            yield Blind(stage=stage, why=f"fewer than {few} in its log")
            continue
        turn = int(np.argmin(values(validation)))
        (step, lowest), (end, last) = validation[turn], validation[-1]
        after = values(validation[turn + 1 :])
        # One figure above the lowest may be chance; all of at least two, and the last by 2 %, are a trend.
        if len(after) < 2 or last < lowest + RISE * abs(lowest) or after.min() <= lowest + RISE * abs(lowest) / 2:
            continue
        since = [point for point in training if point[0] >= step]
        if len(since) < 4:
            yield Blind(stage=stage, why="fewer than 4 logged losses since its held-out figure was lowest")
            continue
        before, now, _ = ends(since, 0.3)
        if now < before:
            yield Finding(
                stage=stage,
                what="Validation rises while the training loss falls.",
                evidence=f"Held-out: {number(lowest)} at step {step:,.0f}, {number(last)} at step {end:,.0f} "
                f"({100 * (last / lowest - 1):+.0f} %). Training: {number(before)} to {number(now)} in that time.",
                advice=f"Text seen more than once is learnt by heart: stop near step {step:,.0f}, or use more data, "
                "fewer epochs, more weight decay. Of text seen once, the last part may differ from the rest.",
                grave=True,
            )


def plateau(facts: Facts) -> Iterator[Seen]:
    """The loss never falls by more than its noise and a hundredth."""
    for stage in facts.among(FITTED):
        loss = facts.points(stage, "loss")
        if len(loss) < ENOUGH:
            yield Blind(stage=stage, why=f"fewer than {LOSSES} in its log")
            continue
        first, last, chance = ends(loss)
        # A loss of several terms may stand still while what DPO is for, the margin, grows. It begins at exactly 0, the
        # model being its own reference, and may well have grown before the first part of the run is over.
        margins = facts.points(stage, "rewards/margins") if stage == "dpo" else []
        if len(margins) >= ENOUGH:
            _, last_margin, noise = ends(margins)
            if last_margin > noise:
                continue
        if first - last < max(chance, 0.01 * abs(first)):
            yield Finding(
                stage=stage,
                what="The loss is flat from the start: the stage learnt next to nothing.",
                evidence=f"Mean of the first fifth {number(first)}, of the last fifth {number(last)}, over "
                f"{len(loss)} logged steps.",
                advice="A learning rate far too small or too large, frozen weights, or labels that carry no signal.",
                grave=True,
            )
    for stage in facts.among(DRAWN):
        reward = facts.points(stage, "score", "reward")
        if len(reward) < ENOUGH:
            yield Blind(stage=stage, why=f"fewer than {ENOUGH} rewards in its log")
            continue
        first, last, chance = ends(reward)
        if last - first < chance:
            price = "kl_coef" if stage == "ppo" else "beta"
            yield Finding(
                stage=stage,
                what=f"The reward does not rise: {stage.upper()} changed nothing that the reward model sees.",
                evidence=f"Mean of the first fifth {number(first)}, of the last fifth {number(last)}.",
                advice=f"Raise learning_rate, lower {price}, or train for more steps.",
            )


def spikes(facts: Facts) -> Iterator[Seen]:
    """Single steps far above those around them."""
    for stage in facts.among(FITTED):
        loss = facts.points(stage, "loss")
        if len(loss) < ENOUGH:
            yield Blind(stage=stage, why=f"fewer than {LOSSES} in its log")
            continue
        found = jumps(loss)
        if not found:
            continue
        step, height, before = max(found, key=lambda jump: jump[1] - jump[2])
        many = "One spike" if len(found) == 1 else f"{len(found)} spikes"
        norms = dict(facts.points(stage, "gradient_norm", "grad_norm"))
        norm = f", with a gradient norm of {number(norms[step])}" if step in norms else ""
        back = any(later > step and value <= before * 1.05 for later, value in loss)
        yield Finding(
            stage=stage,
            what=f"{many} in the loss" + ("." if back else ", from which it does not come back."),
            evidence=f"At step {step:,.0f} it is {number(height)} after {number(before)}{norm}.",
            advice="Look at the batch of that step; a lower learning rate, longer warm-up or tighter clipping help.",
            grave=not back,
        )


def jumps(loss: Points, window: int = 8) -> list[tuple[float, float, float]]:
    """(step, value, median before) of every point SPIKE sigmas, and a tenth, above the points before it and above the
    point that follows: a level that is kept is no spike but a change of data, unless it is the end."""
    found, scatter = values(loss), noise(loss)
    spiked = []
    for place in range(4, len(found)):
        before = found[max(0, place - window) : place]
        level = float(np.median(before))
        limit = level + max(SPIKE * scatter, 0.1 * abs(level))
        alone = place + 1 == len(found) or found[place + 1] < found[place] - (found[place] - level) / 2
        stays = bool((found[place:] > limit).all())  # it went up and never came down again: a divergence
        first = found[place - 1] <= limit
        if found[place] > limit and (alone or (stays and first)):
            spiked.append((loss[place][0], float(found[place]), level))
    return spiked


def rate_at_its_limit(facts: Facts) -> Iterator[Seen]:
    """No progress while the learning rate is near its peak, and progress as soon as it falls."""
    for stage in facts.among(FITTED):
        rate, loss = facts.points(stage, "learning_rate"), facts.points(stage, "loss")
        if len(loss) < 2 * ENOUGH or len(rate) < 2 * ENOUGH:
            yield Blind(stage=stage, why=f"fewer than {2 * ENOUGH} losses or learning rates in its log")
            continue
        peak = max(value for _, value in rate)
        high = [step for step, value in rate if value >= 0.9 * peak]
        during = [point for point in loss if high[0] <= point[0] <= high[-1]]
        after = [point for point in loss if point[0] > high[-1]]
        if len(during) < ENOUGH - 2 or len(after) < ENOUGH - 2:
            why = f"fewer than {ENOUGH - 2} losses in its log while the rate was highest, or after"
            yield Blind(stage=stage, why=why)
            continue
        # A training loss that jumps may be due to other data, such as longer rows; validation is not.
        validation = values([point for point in facts.points(stage, *VALIDATION) if high[0] <= point[0] <= high[-1]])
        if len(validation) >= 2 and validation[-1] < (1 - RISE) * validation[0]:
            continue
        first, second, chance = ends(during, 0.4)
        _, finally_, _ = ends(after, 0.25)
        if second >= first and second - finally_ > max(chance, 0.03 * abs(second)):
            yield Finding(
                stage=stage,
                what="The learning rate is at its limit: while it was highest the loss stood still.",
                evidence=f"From step {high[0]:,.0f} to {high[-1]:,.0f}, with a rate of about {number(peak)}, the loss "
                f"went from {number(first)} to {number(second)}; once the rate fell, to {number(finally_)}.",
                advice=f"Try {number(peak / 2)}: the steps at the peak would then count too.",
            )


def clipping(facts: Facts) -> Iterator[Seen]:
    """Most gradients are longer than the norm at which they are cut."""
    for stage in facts.among(FITTED):
        recipe = facts.recipes.get(stage, {})
        section = recipe if "max_grad_norm" in recipe else recipe.get("trainer", {})
        limit = float(section.get("max_grad_norm", 1.0))
        norms = values(facts.points(stage, "gradient_norm", "grad_norm"))
        norms = norms[len(norms) // 10 :]
        if len(norms) < 4:
            yield Blind(stage=stage, why="fewer than 4 gradient norms in its log")
            continue
        share = float((norms > limit).mean()) if limit > 0 else 0.0
        if share > CLIPPED:
            yield Finding(
                stage=stage,
                what="Most gradients are clipped: the limit, and not the learning rate alone, sets the step.",
                evidence=f"{100 * share:.0f} % of the logged steps have a gradient norm above max_grad_norm = "
                f"{number(limit)}; their median is {number(float(np.median(norms)))}.",
                advice="Fine where it is meant. Otherwise raise max_grad_norm, or lower the learning rate.",
            )


def skipped(facts: Facts) -> Iterator[Seen]:
    """Steps that were left out, because a gradient was not finite or a loss far from those before."""
    for stage in facts.among(TRAINED):
        counted = facts.metrics.get(stage, {})
        if not any(key.startswith("skipped_") for key in counted):
            yield Blind(stage=stage, why="its metrics do not count them")
        count = sum(counted.get(key, 0) for key in ("skipped_steps", "skipped_updates"))
        if count:
            yield Finding(
                stage=stage,
                what="Steps were left out because their gradient was not finite.",
                evidence=f"{count:.0f} of them.",
                advice="Lower the learning rate, or lengthen the warm-up.",
                grave=True,
            )
        if far := counted.get("skipped_spikes"):
            yield Finding(
                stage=stage,
                what="Steps were left out because their loss stood far above the ones before.",
                evidence=f"{far:.0f} of them; log.jsonl names their rows.",
                advice="A few do no harm. Many: look at those rows, or lower the learning rate.",
            )


def slower(facts: Facts) -> Iterator[Seen]:
    """Training got much slower on its way."""
    for stage in facts.among(TRAINED):
        speed = facts.points(stage, "tokens_per_second", "episodes_per_second")
        if len(speed) < ENOUGH:
            yield Blind(stage=stage, why=f"fewer than {ENOUGH} speeds in its log")
            continue
        first, last, _ = ends(speed[1:], 0.25)  # the first point holds the start-up
        if last < SLOWER * first:
            yield Finding(
                stage=stage,
                what="Training slowed down on its way.",
                evidence=f"{number(first)} a second in the first quarter, {number(last)} in the last.",
                advice="Another job on the machine, heat, memory that swaps, or longer rows towards the end.",
            )


def unended(facts: Facts) -> Iterator[Seen]:
    """Answers that are no longer let end."""
    for stage in facts.among(DRAWN):
        ended = facts.points(stage, "ended")
        if len(ended) < 4:
            yield Blind(stage=stage, why="fewer than 4 shares of answers that end in its log")
        elif (last := ends(ended)[1]) < LEAST_ENDED:
            yield Finding(
                stage=stage,
                what="Answers stop ending: the policy writes until its room is used up.",
                evidence=f"{100 * ended[0][1]:.0f} % of the answers end at first, {100 * last:.0f} % at last.",
                advice="Penalise answers without an end, or allow longer ones.",
                grave=True,
            )


def alike(facts: Facts) -> Iterator[Seen]:
    """Groups of answers that the reward cannot tell apart."""
    share = facts.metrics.get("grpo", {}).get("groups_all_alike_last")
    if share is None:
        yield Blind(stage="grpo", why="its metrics do not count them")
    elif share > MOST_ALIKE:
        yield Finding(
            stage="grpo",
            what="Most groups of answers are rewarded all alike, so most of a step teaches nothing.",
            evidence=f"{100 * share:.0f} % of the groups in the last tenth of the steps.",
            advice="A finer reward, harder prompts, a higher temperature, or more answers to a prompt.",
        )


def vanishing_chosen(facts: Facts) -> Iterator[Seen]:
    """DPO makes the answers that it should prefer much less likely too."""
    found = facts.metrics.get("dpo", {})
    before, after = found.get("logps_chosen_before"), found.get("logps_chosen")
    if before is None or after is None:
        yield Blind(stage="dpo", why="its metrics have no log-probabilities from before and after")
    elif after < before * 1.1:
        yield Finding(
            stage="dpo",
            what="DPO made the chosen answers much less likely, not only the rejected ones.",
            evidence=f"Log-probability of a chosen answer: {number(before)} before, {number(after)} after.",
            advice="A lower learning rate, a higher beta, or an SFT term in the loss (loss_type: [sigmoid, sft]).",
        )


CHECKS = (
    Check(looks_for="validation that rises while training falls", needs=FITTED, find=overfitting),
    Check(looks_for="a plateau from the start", needs=TRAINED, find=plateau),
    Check(looks_for="spikes in the loss", needs=FITTED, find=spikes),
    Check(looks_for="a learning rate at its limit", needs=FITTED, find=rate_at_its_limit),
    Check(looks_for="gradients that are mostly clipped", needs=FITTED, find=clipping),
    Check(looks_for="steps left out", needs=TRAINED, find=skipped),
    Check(looks_for="training that slows down", needs=TRAINED, find=slower),
    Check(looks_for="answers that no longer end", needs=DRAWN, find=unended),
    Check(looks_for="answers that are all rewarded alike", needs=("grpo",), find=alike),
    Check(looks_for="chosen answers that become much less likely", needs=("dpo",), find=vanishing_chosen),
)
