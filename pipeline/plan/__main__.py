"""What pretraining a recipe would take: `python -m pipeline.plan --recipe storyworld --hardware h200 --gpus 8`

Reads the recipe alone: no tokenizer, no corpus need be there. Prints parameters, operations a token, memory of one
device under DDP and ZeRO-1, 2 and 3, what it sends in a step, and picks micro-batch and accumulation; then speed,
hours, price, energy and a checkpoint. Memory and bytes are by formula (pipeline/plan/memory.py, traffic.py); speed
rests on an assumed MFU and price (pipeline/plan/hardware.json), seconds of sending and writing on --link and --disk.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.chain import CHAIN
from pipeline.plan.hardware import DISK, LINK, Device, device, here
from pipeline.pretrain.recipe import Recipe
from pipeline.recipe import HubSource, load, override
from pipeline.recipe import Recipe as Run
from pipeline.stage import UserError


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is to be planned: a recipe's pretraining, on so many devices of a kind."""

    name: str
    recipe: Recipe
    vocabulary: int
    device: Device
    devices: int
    link: float  # bytes a second that a device sends
    disk: float  # bytes a second that a checkpoint is written with


def vocabulary_of(run: Run, recipe: Recipe) -> int:
    """The vocabulary that the model will have. Raises UserError where only a tokenizer that is elsewhere knows it."""
    if "vocab_size" in recipe.model:
        return recipe.model["vocab_size"]
    owner = run.owner("tokenizer")
    tokenizer = owner.own["tokenizer"] if owner else None
    # None too where the recipe extends a tokenizer, whose own size is not in the recipe.
    known = None if tokenizer is None or isinstance(tokenizer, HubSource) else tokenizer.vocabulary  # type: ignore
    if known is None:
        raise UserError(
            f"{run.name}: the recipe does not say how large the vocabulary is: it has no tokenizer.yaml with a "
            f"vocab_size. Give the tokenizer's: --set model.vocab_size=32000"
        )
    return known


def question(args: argparse.Namespace) -> Question:
    """What the command line asks. Raises UserError where it cannot be answered."""
    run = load(args.recipe, CHAIN)
    owner = run.owner("pretrain")
    found = owner.own["pretrain"] if owner else None
    recipe = override(found, args.set, "pretrain") if found and args.set else found
    if not isinstance(recipe, Recipe):
        raise UserError(f"{run.name}: there is nothing to plan: the recipe has no pretrain.yaml that trains a model.")
    if recipe.continue_from is not None:
        raise UserError(
            f"{run.name}: the planner reads the model from the recipe, and here continue_from brings it. Give the "
            f"fields of {recipe.continue_from.id} as `model:` in a copy of the recipe."
        )
    key, number = (args.hardware, 1) if args.hardware else here()
    chosen = device(key)
    devices = args.gpus or number
    if devices < 1 or (key == "cpu" and devices > 1):
        raise UserError(f"--gpus {devices}: give 1 or more; with --hardware cpu all cores count as one device.")
    if args.mfu is not None:
        if not 0 < args.mfu <= 1:
            raise UserError(f"--mfu {args.mfu}: the share of peak operations that is reached lies between 0 and 1.")
        chosen = replace(chosen, mfu=args.mfu)
    if args.price is not None:
        if args.price < 0:
            raise UserError(f"--price {args.price}: dollars an hour and device, 0 or more.")
        chosen = replace(chosen, usd_per_hour=args.price)
    for option, rate in (("--link", args.link), ("--disk", args.disk)):
        if not rate > 0:
            raise UserError(f"{option} {rate}: gigabytes a second, more than 0.")
    return Question(
        name=run.name,
        recipe=recipe,
        vocabulary=vocabulary_of(run, recipe),
        device=chosen,
        devices=devices,
        link=args.link * 1e9,
        disk=args.disk * 1e9,
    )


def answer(asked: Question) -> dict[str, Any]:
    """The whole plan as JSON types; bytes, seconds, dollars and kWh."""
    # They import torch and transformers: a mistake in the recipe is told before.
    from pipeline.plan.choose import Split, choose, speed, splits, usable_devices
    from pipeline.plan.count import build_meta, count
    from pipeline.plan.traffic import checkpoint, sent
    from pipeline.pretrain.model import configure

    recipe = asked.recipe
    counted = count(build_meta(configure(recipe.model, recipe.context, vocabulary=asked.vocabulary)))
    devices = usable_devices(recipe, asked.devices)
    found = splits(counted, recipe, asked.device, devices)
    chosen = choose(found)

    def shown(one: Split) -> dict[str, Any]:
        out = sent(counted, one.engine, one.precision, devices, one.accumulation)
        return {**asdict(one), "peak": one.memory.peak, "sent": out, "sent_seconds": out / asked.link}

    size = checkpoint(counted, recipe.optimizer)
    return {
        "recipe": asked.name,
        "model_type": recipe.model["model_type"],
        "context": recipe.context,
        "batch_size": recipe.batch_size,
        "steps": recipe.num_steps,
        "tokens": recipe.num_steps * recipe.batch_size * recipe.context,
        "optimizer": recipe.optimizer,
        "learning_rate": recipe.learning_rate,
        "model": {
            **asdict(counted),
            "attention_flops_per_token": counted.attention_flops(recipe.context),
            "flops_per_token": counted.flops_per_token(recipe.context),
        },
        "device": asdict(asked.device),
        "devices_given": asked.devices,
        "devices": devices,
        "splits": [shown(one) for one in found],
        "chosen": shown(chosen) if chosen else None,
        "speed": asdict(speed(counted, recipe, asked.device, devices, chosen)),
        "link": asked.link,
        "checkpoint": {"bytes": size, "disk": asked.disk, "seconds": size / asked.disk},
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.plan", description=str(__doc__).splitlines()[0])
    parser.add_argument("--recipe", default="storyworld", help="a folder under recipes/, or a path")
    parser.add_argument("--hardware", help="a key of pipeline/plan/hardware.json, or cpu; default: this machine")
    parser.add_argument("--gpus", type=int, help="number of devices; default: 1, or those of this machine")
    parser.add_argument("--mfu", type=float, help="model FLOPs utilisation to reckon with, 0.45 for example")
    parser.add_argument("--price", type=float, help="dollars an hour and device")
    parser.add_argument(
        "--link", type=float, default=LINK / 1e9, help="GB/s that a device sends; default: %(default)g"
    )
    parser.add_argument("--disk", type=float, default=DISK / 1e9, help="GB/s of writing; default: %(default)g")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a key of pretrain.yaml")
    parser.add_argument("--json", action="store_true", help="everything, for programs")
    args = parser.parse_args(argv)
    try:
        planned = answer(question(args))
    except UserError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if args.json:
        sys.stdout.write(json.dumps(planned, indent=1) + "\n")
    else:
        from pipeline.plan.show import table

        sys.stdout.write(table(planned))
    return 0


if __name__ == "__main__":
    sys.exit(main())
