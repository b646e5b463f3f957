"""From a counted model and a device to a launch: which engine, how many rows at once, how long, for how much."""

from dataclasses import dataclass

from pipeline.plan.count import Count
from pipeline.plan.hardware import Device
from pipeline.plan.memory import ENGINES, Engine, Memory, Precision, Sharding, estimate
from pipeline.pretrain.recipe import Recipe
from pipeline.stage import UserError

USABLE = 0.9  # of a device's memory; the rest is for its context, the kernels' workspace and fragmentation
RECOMPUTED = 4 / 3  # activation checkpointing takes every layer forward twice: 8 N operations a token for 6 N
# Seconds that one layer costs the host of a GPU, forward and backward, however small it is: a hundred operations, more
# or less, that Python and autograd launch in some ten microseconds each. Assumed; tiny models run at this speed.
LAUNCH = 1e-3
MOVED = 28  # bytes a parameter that the optimiser reads and writes: gradient, and weight and two moments twice


@dataclass(frozen=True, kw_only=True)
class Split:
    """How an engine takes the batch: rows at once on each device, times accumulation, and the memory of one device."""

    engine: Engine
    precision: Precision
    checkpointed: bool
    rows: int
    accumulation: int
    memory: Memory
    fits: bool


@dataclass(frozen=True, kw_only=True)
class Speed:
    """What the run takes. tokens_per_second: of all devices together. kwh: at the boards' full power, without the
    rest of the machine and cooling."""

    step_seconds: float
    tokens_per_second: float
    hours: float
    usd: float
    kwh: float


def usable_devices(recipe: Recipe, devices: int) -> int:
    """The most of the devices that can share a batch equally, as the loop demands. Raises UserError where one alone
    cannot cut it into the recipe's micro-batches."""
    micro = recipe.micro_batch_size or 1
    usable = [n for n in range(1, devices + 1) if recipe.batch_size % (n * micro) == 0]
    if not usable:
        raise UserError(
            f"pretrain.yaml: batch_size = {recipe.batch_size} must be a multiple of micro_batch_size = {micro}. "
            f"Leave micro_batch_size out and the planner finds one."
        )
    return usable[-1]


def precision_of(engine: Engine, device: Device) -> Precision:
    """The number formats that accelerate trains in on this device."""
    if not device.bf16:
        return "float32"
    return "autocast" if engine == "ddp" else "bfloat16"


def split(counted: Count, recipe: Recipe, device: Device, devices: int, engine: Engine, checkpointed: bool) -> Split:
    """The largest micro-batch that fits, or the recipe's own; where none fits, the smallest."""
    share = recipe.batch_size // devices
    sizes = [n for n in range(share, 0, -1) if share % n == 0]
    if recipe.micro_batch_size is not None:
        sizes = [recipe.micro_batch_size]
    precision = precision_of(engine, device)
    sharding = Sharding(engine=engine, precision=precision, devices=devices, optimizer=recipe.optimizer)

    def at(rows: int) -> Split:
        accumulation = share // rows
        memory = estimate(
            counted,
            sharding,
            context=recipe.context,
            rows=rows,
            accumulation=accumulation,
            checkpointed=checkpointed,
        )
        return Split(
            engine=engine,
            precision=precision,
            checkpointed=checkpointed,
            rows=rows,
            accumulation=accumulation,
            memory=memory,
            fits=memory.peak <= USABLE * device.memory_bytes,
        )

    return next((found for found in map(at, sizes) if found.fits), at(sizes[-1]))


def splits(counted: Count, recipe: Recipe, device: Device, devices: int) -> list[Split]:
    """Every engine, plain and checkpointed. On one device there is nothing to shard."""
    engines = ENGINES if devices > 1 else ENGINES[:1]
    return [split(counted, recipe, device, devices, engine, kept) for kept in (False, True) for engine in engines]


def choose(found: list[Split]) -> Split | None:
    """The first that fits, from what communicates and computes least to what takes least memory. None: none does."""
    return next((one for one in found if one.fits), None)


def speed(counted: Count, recipe: Recipe, device: Device, devices: int, chosen: Split | None = None) -> Speed:
    """Seconds of a step: operations over (peak x MFU), and what the optimiser moves over the memory's bandwidth; on a
    GPU at least the time to launch every layer of every micro-batch.

    It knows nothing of the network: an MFU that was measured on many nodes has its cost in it.
    """
    tokens = recipe.batch_size * recipe.context
    recomputed = RECOMPUTED if chosen and chosen.checkpointed else 1
    operations = counted.flops_per_token(recipe.context) * tokens / devices * recomputed
    # Every device orthogonalises every matrix; next to a batch of a million tokens that is little, next to a thousand
    # tokens a third of the step.
    operations += counted.muon_flops if recipe.optimizer == "muon" else 0
    launches = LAUNCH * counted.layers * (chosen.accumulation if chosen else 1) if device.bf16 else 0.0
    updated = counted.total / (devices if chosen and chosen.engine != "ddp" else 1)
    seconds = max(operations / (device.flops * device.mfu), launches) + MOVED * updated / device.bandwidth
    hours = seconds * recipe.num_steps / 3600
    return Speed(
        step_seconds=seconds,
        tokens_per_second=tokens / seconds,
        hours=hours,
        usd=hours * devices * device.usd_per_hour,
        kwh=hours * devices * device.watts / 1000,
    )
