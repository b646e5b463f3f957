"""What the planner says of a run that is under way, for its manifest: to be held against what is measured."""

import torch
from transformers import PreTrainedModel

from pipeline.plan.choose import speed, split
from pipeline.plan.count import count
from pipeline.plan.hardware import Device, device, processor, recognise
from pipeline.pretrain.recipe import Recipe
from pipeline.stage import UserError


def this_device() -> Device | None:
    """What this process computes on; None for a card that is not in the table."""
    if not torch.cuda.is_available():
        return processor(torch.get_num_threads())
    key = recognise(torch.cuda.get_device_name())
    return device(key) if key else None


def predict(recipe: Recipe, model: PreTrainedModel, processes: int, rows: int) -> dict[str, float]:
    """Peak memory of a process and seconds of a step, data parallel, `rows` rows at once; nothing where the machine or
    the model is one that the planner does not know."""
    here = this_device()
    if here is None:
        return {}
    try:
        counted = count(model)
    except UserError:
        return {}
    planned = split(
        counted, recipe.model_copy(update={"micro_batch_size": rows}), here, processes, "ddp", checkpointed=False
    )
    return {
        "predicted_peak_memory_bytes": planned.memory.peak,
        "predicted_seconds_per_step": speed(counted, recipe, here, processes, planned).step_seconds,
    }
