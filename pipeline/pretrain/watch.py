"""What a run shows of itself while it goes on: losses, speed, memory, held-out bits per byte, and how it writes."""

import itertools
import resource
import sys
from typing import Any

import torch
from accelerate import Accelerator
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.engine import Engine
from pipeline.plan.count import count
from pipeline.plan.predict import this_device
from pipeline.pretrain import heldout
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.state import Standing
from pipeline.rows import Rows
from pipeline.stage import UserError

PROMPTS, PROMPT_TOKENS, NEW_TOKENS = 2, 12, 32

# The first line of log.jsonl: what its numbers are.
UNITS = {
    "loss": "nats per token, mean since the last logged step",
    "z_loss": "squared logarithm of the softmax's denominator, per token, before its weight",
    "balance_loss": "load balancing of the experts, before its weight; the experts a token passes where it is even",
    "learning_rate": "of the step",
    "gradient_norm": "before clipping",
    "tokens": "since the beginning",
    "seconds": "of training steps since the beginning",
    "tokens_per_second": "since the beginning, all processes",
    "mfu": "share of the devices' peak operations, 6 N + 12 L H T operations a token",
    "memory_bytes": "peak of this process: on a GPU the allocator's, else the resident set",
    "heldout_bits_per_byte": "bits per byte of held-out text; with a source's name behind it, of that source's",
    "samples": "held-out beginnings and what the model goes on with, most likely token each time",
    "left_out": "why a step made no update; first_row and last_row of the seed's order",
}


class Watch:
    """The measures of one run. model: before it is wrapped."""

    def __init__(
        self,
        recipe: Recipe,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        rows: Rows,
        accelerator: Accelerator,
    ) -> None:
        self.recipe, self.tokenizer, self.rows, self.accelerator = recipe, tokenizer, rows, accelerator
        self.end_id = rows.split.end_id
        self.of_peak = utilisation(model, recipe, accelerator.num_processes)
        self.balances = getattr(model.config, "router_aux_loss_coef", None) is not None

    def losses(self, means: torch.Tensor, standing: Standing) -> dict[str, float]:
        """What the log says of the losses, (3,): cross entropy, z-loss, balance; means since the last logged step."""
        standing.loss, z, balance = means.tolist()
        return {
            "loss": standing.loss,
            **({"z_loss": z} if self.recipe.z_loss else {}),
            **({"balance_loss": balance} if self.balances else {}),
        }

    def figures(self, standing: Standing) -> dict[str, float | int]:
        """What the log and the metrics say about the way so far."""
        tokens = standing.step * self.recipe.batch_size * self.recipe.context
        speed = tokens / max(standing.seconds, 1e-9)
        return {
            "loss": standing.loss,
            "tokens": tokens,
            "seconds": round(standing.seconds, 3),
            "tokens_per_second": round(speed, 1),
            **({"mfu": round(speed * self.of_peak, 4)} if self.of_peak is not None else {}),
            "memory_bytes": peak_memory(self.accelerator.device),
        }

    def evaluate(self, engine: Engine, limit: int) -> dict[str, Any]:
        """Held-out bits per byte of the first `limit` rows, of each source too, and samples; every process takes
        part."""
        scores = heldout.score(engine.bare, self.rows, self.accelerator, limit=limit)
        found: dict[str, Any] = {"heldout_bits_per_byte": heldout.bits_per_byte(scores, self.rows)}
        found |= heldout.by_source(scores, self.rows)
        if engine.samples and self.accelerator.is_main_process:
            found["samples"] = self.samples(engine.bare)
        return found

    @torch.no_grad()
    def samples(self, model: PreTrainedModel) -> list[str]:
        """Beginnings of held-out documents, continued greedily, which draws no random number."""
        split = self.rows.split
        documents = [split.tokens[begin : end - 1] for begin, end in itertools.pairwise(split.offsets[: PROMPTS + 1])]
        # Of one length, so that they are one batch without padding.
        length = min(PROMPT_TOKENS, self.recipe.context // 2, *map(len, documents))
        beginnings = [[self.end_id, *document[:length].tolist()] for document in documents]
        prompts = torch.tensor(beginnings, device=self.accelerator.device)  # (B, T)
        model.eval()
        with self.accelerator.autocast():
            written = model.generate(
                prompts, attention_mask=torch.ones_like(prompts), do_sample=False,
                max_new_tokens=min(NEW_TOKENS, self.recipe.context - length - 1), eos_token_id=self.end_id,
                pad_token_id=self.end_id, use_cache=True,
            )[:, prompts.shape[1] :].tolist()  # fmt: skip
        model.train()
        decode = self.tokenizer.decode
        ended = [row[: row.index(self.end_id)] if self.end_id in row else row for row in written]
        return [f"{decode(ids[1:])}|{decode(new)}" for ids, new in zip(beginnings, ended, strict=True)]


def utilisation(model: PreTrainedModel, recipe: Recipe, processes: int) -> float | None:
    """The share of the devices' peak operations that one token a second is; None where either is not known."""
    here = this_device()
    if here is None:
        return None
    try:
        return count(model).flops_per_token(recipe.context) / (here.flops * processes)
    except UserError:
        return None


def peak_memory(device: torch.device) -> int:
    """Bytes at most so far: tensors on a GPU, this process's resident set elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    scale = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale
