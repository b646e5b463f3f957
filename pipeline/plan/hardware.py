"""What is known of machines: peak operations, memory, power, price. The table is hardware.json beside this file."""

import difflib
import json
from dataclasses import dataclass
from pathlib import Path

from pipeline.machine import cores, describe, gpus
from pipeline.stage import UserError

TABLE = Path(__file__).with_name("hardware.json")
LINK = 50e9  # bytes a second that a device can send over the network: 400 Gb/s InfiniBand, one card a GPU
DISK = 1e9  # bytes a second that one process writes to storage that all nodes share: assumed


@dataclass(frozen=True, kw_only=True)
class Device:
    """One accelerator, or all processor cores together.

    flops: dense operations a second at their peak, in bfloat16 or, on processors, in float32. mfu: the share of them
    that forward and backward reach (model FLOPs utilisation). bandwidth: bytes a second of its memory. mfu and
    usd_per_hour are assumptions.
    """

    name: str
    flops: float
    memory_bytes: float
    bandwidth: float
    watts: float
    usd_per_hour: float
    mfu: float
    bf16: bool


def device(key: str, num_cores: int | None = None) -> Device:
    """A device by its key in the table, or "cpu": this machine's processor. Raises UserError for an unknown one."""
    if key == "cpu":
        return processor(num_cores or cores())
    known = json.loads(TABLE.read_text(encoding="utf-8"))["devices"]
    if key not in known:
        close = difflib.get_close_matches(key, known, n=1)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        raise UserError(f"--hardware {key}: not in {TABLE.name}.{hint} There are: cpu, {', '.join(known)}.")
    row = dict(known[key])
    return Device(flops=row.pop("bf16_flops"), bf16=True, **row)


def processor(num_cores: int) -> Device:
    """The processor cores of this machine, as one device with its memory."""
    core = json.loads(TABLE.read_text(encoding="utf-8"))["core"]
    return Device(
        name=f"{num_cores} processor core{'s' if num_cores > 1 else ''}",
        flops=core["float32_flops"] * num_cores,
        memory_bytes=describe()["memory_bytes"],
        bandwidth=core["bandwidth"] * num_cores,
        watts=core["watts"] * num_cores,
        usd_per_hour=core["usd_per_hour"] * num_cores,
        mfu=core["mfu"],
        bf16=False,
    )


def recognise(name: str) -> str | None:
    """The table's key for a card's name as nvidia-smi or torch give it; None for one that it lacks."""
    known = json.loads(TABLE.read_text(encoding="utf-8"))["devices"]
    exact = [key for key, row in known.items() if row["name"] == name]
    # "NVIDIA H100 PCIe" and others of a family are other devices: slower, with less power.
    return exact[0] if exact else None


def here() -> tuple[str, int]:
    """(key, number of devices) of this machine. Raises UserError where its cards are not in the table."""
    cards = gpus()
    if not cards:
        return "cpu", 1
    key = recognise(cards[0])
    if key is None:
        raise UserError(
            f"this machine's {cards[0]} is not in {TABLE.name}. Name one that is close: --hardware a100-80."
        )
    return key, len(cards)
