"""One dial: `size: 12M` in pretrain.yaml gives the model, the batch, the learning rate and the budget of tokens."""

import math
import re
from typing import Any

HEAD = 64  # dimensions of a head
ASPECT = 32  # width over depth
TOKENS_A_PARAMETER = 20  # compute-optimal (Hoffmann et al. 2022, 2203.15556, table 3)
SMALLEST, LARGEST = 100_000, 2_000_000_000
UNITS = {"k": 10**3, "M": 10**6, "B": 10**9}
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)([kMB])")
# The model types whose configs have the fields that the dial gives.
DIALLED = ("llama", "mistral", "qwen3")


def parse(size: object) -> int:
    """The parameters that "800k", "12M" or "1.4B" stands for. Raises ValueError for anything else, and for sizes at
    which the rules below say nothing."""
    match = SIZE.fullmatch(size) if isinstance(size, str) else None
    if match is None:
        raise ValueError(f"size = {size!r}: write a number of parameters with its unit, such as 800k, 12M or 1.4B")
    parameters = round(float(match[1]) * UNITS[match[2]])
    if not SMALLEST <= parameters <= LARGEST:
        raise ValueError(
            f"size = {size!r}: the dial goes from 100k to 2B. Remove size and give model, batch_size, learning_rate "
            f"and tokens yourself"
        )
    return parameters


def derive(size: int, context: int) -> dict[str, Any]:
    """The keys of pretrain.yaml for a model with `size` parameters in its layers.

    Embeddings are not counted, as in Kaplan et al. 2020 (2001.08361, section 2.1): how many there are is the
    tokenizer's to say, and `python -m pipeline.plan` counts both.

    Shape: heads of 64, an MLP of 8/3 the width (Touvron et al. 2023, 2302.13971), a width of some 32 times the depth.
    Loss hardly depends on that ratio (Kaplan et al. 2020, figure 5); below a billion parameters deep and narrow models
    do better (Liu et al. 2024, 2402.14905: 30 layers of 576), and the story world's best had 32 (LOG.md). Qwen3, since
    small models learn to copy sooner with normalised queries and keys (LOG.md); tied embeddings.

    Budget: 20 tokens a parameter, compute-optimal (Hoffmann et al. 2022, 2203.15556, table 3).

    Batch and learning rate follow the compute C = 6 x size x tokens: 0.2920 C^0.3271 tokens a step, and a peak rate of
    0.3118 C^-0.1250 (DeepSeek-AI 2024, 2401.02954, equation 1; fitted with AdamW from 1e17 to 2e19 FLOPs). With this
    budget and depth in proportion to width the rate falls as width^-0.75, near muP's 1/width (Yang et al. 2022,
    2203.03466). For the story world's recipe the rule says 7e-3, where 8e-3 was measured best (with Muon, which is
    scaled to AdamW's updates here). Rows are rounded to a power of two, so that devices can share them.
    """
    hidden, layers = shape(size)
    tokens = TOKENS_A_PARAMETER * size
    compute = 6.0 * size * tokens
    return {
        "model": {
            "model_type": "qwen3",
            "hidden_size": hidden,
            "intermediate_size": intermediate_size(hidden),
            "num_hidden_layers": layers,
            "num_attention_heads": hidden // HEAD,
            "num_key_value_heads": hidden // HEAD,
            "head_dim": HEAD,
            "tie_word_embeddings": True,
        },
        "batch_size": power_of_two(0.2920 * compute**0.3271 / context),
        "learning_rate": float(f"{0.3118 * compute**-0.1250:.2g}"),
        "tokens": tokens,
    }


def shape(size: int) -> tuple[int, int]:
    """(width, layers): for each width the depth that comes nearest the size; of these pairs the one that misses size
    and ratio least, where 16 % of the size weigh as much as a ratio of twice or half ASPECT."""

    def misfit(pair: tuple[int, int]) -> float:
        hidden, layers = pair
        return abs(math.log(hidden / layers / ASPECT)) + 4 * abs(math.log(layers * a_layer(hidden) / size))

    widths = (heads * HEAD for heads in range(1, 65))
    return min(((hidden, max(2, round(size / a_layer(hidden)))) for hidden in widths), key=misfit)


def a_layer(hidden: int) -> int:
    """Parameters in the matrices of one layer."""
    return 4 * hidden**2 + 3 * hidden * intermediate_size(hidden)


def intermediate_size(hidden: int) -> int:
    """Width inside the MLP: 8/3 of the model's (Touvron et al. 2023, 2302.13971), rounded up to a multiple of 64."""
    return -(-hidden * 8 // (3 * 64)) * 64


def power_of_two(rows: float) -> int:
    """The nearest power of two by ratio, at least 1."""
    exponent = 0
    while 2 ** (exponent + 0.5) < rows:
        exponent += 1
    return 2**exponent


def expand(given: dict[str, Any], context: int) -> dict[str, Any]:
    """The recipe with what the dial gives for every key that was not given; in `model:` field by field.

    Raises ValueError for a size that is none and for a model type whose config has other fields.
    """
    derived = derive(parse(given["size"]), context)
    if given.get("steps") is not None:
        del derived["tokens"]
    model = given.get("model", {})
    if not isinstance(model, dict):
        return {**derived, **given}  # an error of its own, told as such
    if model.get("model_type", "qwen3") not in DIALLED:
        raise ValueError(
            f"size = {given['size']!r}: the dial knows the fields of {', '.join(DIALLED)}, not those of "
            f"{model['model_type']!r}. Remove size and give model, batch_size, learning_rate and tokens yourself"
        )
    return {**derived, **given, "model": {**derived["model"], **model}}
