"""A plan as a table for the terminal."""

from typing import Any

ENGINE_NAMES = {"ddp": "DDP", "zero1": "ZeRO-1", "zero2": "ZeRO-2", "zero3": "ZeRO-3"}
PARTS = ("weights", "gradients", "optimizer", "copies", "activations", "logits")


def quantity(value: float) -> str:
    """Three digits and a magnitude: 10.7M."""
    for size, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def duration(hours: float) -> str:
    """Seconds to days, whichever reads best."""
    if hours < 1 / 60:
        return f"{hours * 3600:.3g} s"
    if hours < 1:
        return f"{hours * 60:.3g} min"
    return f"{hours:.3g} h" if hours < 100 else f"{hours / 24:,.1f} days"


def table(plan: dict[str, Any]) -> str:
    """The plan for people; every assumption is said beside the figure that rests on it."""
    return "\n".join([*_model(plan), "", *_memory(plan), "", *_speed(plan)]) + "\n"


def _model(plan: dict[str, Any]) -> list[str]:
    model = plan["model"]
    experts = "" if model["active"] == model["total"] else f", {model['active']:,} of them active for a token"
    batch = plan["batch_size"] * plan["context"]
    return [
        f"{plan['recipe']}: {plan['model_type']}, {model['layers']} layers x {model['hidden']}, {model['heads']} "
        f"heads, vocabulary {model['vocabulary']:,}, context {plan['context']:,}",
        f"parameters      {model['total']:,}{experts}; embeddings {model['tables']:,}",
        f"FLOPs a token   {quantity(model['flops_per_token'])} = 6 x {quantity(model['matrices'])} matrices + 12LHQT "
        f"{quantity(model['attention_flops_per_token'])} attention",
        f"budget          {quantity(plan['tokens'])} tokens, {plan['tokens'] / model['active']:.3g} a parameter: "
        f"{plan['steps']:,} steps of {plan['batch_size']} rows ({quantity(batch)} tokens); {plan['optimizer']}, "
        f"learning rate {plan['learning_rate']:g}",
    ]


def _memory(plan: dict[str, Any]) -> list[str]:
    device, found = plan["device"], plan["splits"]
    largest = max(one["peak"] for one in found)
    unit, name = (1e9, "GB") if largest >= 1e10 else (1e6, "MB")
    plain = [one for one in found if not one["checkpointed"]]
    checkpointed = [one for one in found if one["checkpointed"]]
    columns = [ENGINE_NAMES[one["engine"]] if plan["devices"] > 1 else "one" for one in plain]

    def row(label: str, cells: list[str]) -> str:
        return f"{label:<28}" + "".join(f"{cell:>12}" for cell in cells)

    def amounts(label: str, values: list[float]) -> str:
        return row(label, [f"{value / unit:,.1f}" for value in values])

    def exchanged(splits: list[dict[str, Any]]) -> list[str]:
        if plan["devices"] == 1:
            return []
        seconds = [f"{one['sent_seconds']:.3g}" for one in splits]
        return [
            amounts("sent a step", [one["sent"] for one in splits]),
            row(f"seconds of it at {plan['link'] / 1e9:g} GB/s", seconds),
        ]

    def outcome(splits: list[dict[str, Any]]) -> list[str]:
        return [
            amounts("peak", [one["peak"] for one in splits]),
            row(f"fits {device['memory_bytes'] / 1e9:.0f} GB", ["yes" if one["fits"] else "no" for one in splits]),
            row("rows at once x accumulation", [f"{one['rows']} x {one['accumulation']}" for one in splits]),
            *exchanged(splits),
        ]

    return [
        row(f"memory per device, {name}", columns),
        *(amounts(part, [one["memory"][part] for one in plain]) for part in PARTS),
        *outcome(plain),
        "with activation checkpointing",
        *(amounts(part, [one["memory"][part] for one in checkpointed]) for part in ("activations", "logits")),
        *outcome(checkpointed),
    ]


def _speed(plan: dict[str, Any]) -> list[str]:
    device, speed, chosen, devices = plan["device"], plan["speed"], plan["chosen"], plan["devices"]
    checkpoint, lines = plan["checkpoint"], []
    if chosen is None:
        lines.append(
            f"Nothing fits {devices} x {device['name']}: take more or larger devices, a shorter context, or a smaller "
            f"model. The figures below are what it would take."
        )
    else:
        how = ENGINE_NAMES[chosen["engine"]] if devices > 1 else "one process"
        lines.append(
            f"take            {how}{' with activation checkpointing' if chosen['checkpointed'] else ''}, "
            f"micro_batch_size: {chosen['rows']}, accumulation {chosen['accumulation']}"
        )
    if devices > 1:
        lines.append(
            f"network         one device sends in a step what is said above, at {plan['link'] / 1e9:g} GB/s (assumed; "
            f"--link); what the backward pass does not hide of it comes on top of the time"
        )
    if devices < plan["devices_given"]:
        lines.append(
            f"note            {devices} of {plan['devices_given']} devices are planned with: the loop wants a "
            f"batch_size that is a multiple of them, and it is {plan['batch_size']}"
        )
    return [
        *lines,
        f"speed           {quantity(speed['tokens_per_second'])} tokens/s, {speed['step_seconds']:.3g} s a step, on "
        f"{devices} x {device['name']} at an MFU of {device['mfu']:.2f} (assumed; --mfu)",
        f"time            {duration(speed['hours'])}",
        f"price           ${speed['usd']:,.2f} at ${device['usd_per_hour']:g} an hour and device (assumed; --price)",
        f"energy          {speed['kwh']:,.3g} kWh at {device['watts']:g} W a device",
        f"checkpoint      {quantity(checkpoint['bytes'])}B, {duration(checkpoint['seconds'] / 3600)} to write at "
        f"{checkpoint['disk'] / 1e9:g} GB/s (assumed; --disk)",
    ]
