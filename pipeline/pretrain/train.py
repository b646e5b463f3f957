"""Pretraining: the loop. `make pretrain RECIPE=storyworld`

Reads the tokenizer's artifact: tokenizer/ and the token store. Writes model/ (safetensors and tokenizer, loads with
AutoModelForCausalLM and AutoTokenizer) and log.jsonl, one object a logged step: loss in nats per token.

Rows, learning rate and random numbers of a step are functions of (recipe, seed, step). So a run that was killed and
resumed ends with the weights of one that was not, and any number of processes sees the same batches.
"""

import contextlib
import itertools
import logging
import os
import random
import shutil
import time

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from transformers import AutoTokenizer

from pipeline.checkpoint import newest_valid, save_atomically
from pipeline.plan.measure import peak_bytes
from pipeline.plan.predict import predict
from pipeline.pretrain import heldout, state
from pipeline.pretrain.model import build, save
from pipeline.pretrain.optimizer import build_optimizers
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.schedule import factor
from pipeline.progress import Progress
from pipeline.stage import Job, UserError
from pipeline.step_log import Log
from pipeline.stopping import SIGTERM_STATUS, stop_at_sigterm
from pipeline.store import IGNORE, Order, Rows, open_split, positions, scoring_rows, unigram_bits_per_byte

EVALUATION_ROWS = 128  # scored during training; at the end all of them
MAX_SKIPPED = 3  # steps in a row whose gradient is not finite, then the run stops
CHECKPOINTS_KEPT = 2

logger = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """The stage's verb: prepares, trains, saves, measures."""
    recipe, source = job.recipe, job.needs("tokenizer")
    accelerator = start()
    tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer", trust_remote_code=False, local_files_only=True)
    train_split, heldout_split = open_split(source / "store", "train"), open_split(source / "store", "heldout")
    model = build(recipe.model, tokenizer, recipe.context, job.seed)
    for split in (train_split, heldout_split):
        split.check_ids(model.get_input_embeddings().num_embeddings, "pretrain.yaml, model")
    order = Order(
        train_split,
        context=recipe.context,
        packing=recipe.packing,
        seed=job.seed,
        batch=recipe.batch_size,
        short_first=recipe.short_first,
    )
    rows = scoring_rows(heldout_split, context=recipe.context)
    identity = {"train_sha256": train_split.sha256, "seed": job.seed, **recipe.hashed()}

    (first, *_) = shares(recipe, accelerator)
    predicted = predict(recipe, model, accelerator.num_processes, first.stop - first.start)

    standing, memory = train(job, accelerator, model, order, rows, state.Standing(identity=identity))

    model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    scores = heldout.score(model, rows, accelerator)
    low, high = heldout.interval(scores, rows, job.seed)
    if accelerator.is_main_process:
        save(model, tokenizer, job.out / "model")
        shutil.copyfile(job.resume / "log.jsonl", job.out / "log.jsonl")
    accelerator.wait_for_everyone()
    reached = figures(standing, recipe)
    return {
        "heldout_bits_per_byte": heldout.bits_per_byte(scores, rows),
        "heldout_bits_per_byte_low": low,
        "heldout_bits_per_byte_high": high,
        "heldout_bits_per_byte_n": len(rows),
        "unigram_bits_per_byte": unigram_bits_per_byte(train_split, heldout_split),
        "parameters": model.num_parameters(),
        "skipped_steps": len(standing.skipped),
        "final_loss": reached.pop("loss"),
        **reached,
        "seconds_per_step": standing.seconds / recipe.num_steps,
        # On CPU only the main thread's tensors are seen: of several processes' exchange nothing.
        **(
            {"peak_memory_bytes": memory}
            if accelerator.num_processes == 1 or accelerator.device.type == "cuda"
            else {}
        ),
        **predicted,
    }


def start() -> Accelerator:
    """The accelerator: float32 on CPU (bf16 is emulated on most of them, at a 25th of the speed), bf16 on GPUs that
    have it. Raises RuntimeError where processes were launched and accelerate does not see them."""
    gpu = torch.cuda.is_available()
    accelerator = Accelerator(cpu=not gpu, mixed_precision="bf16" if gpu and torch.cuda.is_bf16_supported() else "no")
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise RuntimeError(f"{launched} processes were launched, accelerate sees {accelerator.num_processes}")
    return accelerator


def train(
    job: Job, accelerator: Accelerator, model: torch.nn.Module, order: Order, rows: Rows, standing: state.Standing
) -> tuple[state.Standing, int]:
    """The loop: from the newest valid checkpoint, or from nothing, to the last step. Returns where it stands then, and
    the most bytes of tensors that a step holds in this process."""
    recipe: Recipe = job.recipe
    micro_batches, end_id = shares(recipe, accelerator), rows.split.end_id
    model, *optimizers = accelerator.prepare(model, *build_optimizers(model, recipe.optimizer, recipe.weight_decay))
    bare = accelerator.unwrap_model(model)
    checkpoint = newest_valid(job.resume)
    if checkpoint is not None:
        standing = state.read(checkpoint, bare, optimizers, standing.identity)
    log = Log(job.resume / "log.jsonl", step=standing.step, writes=accelerator.is_main_process)
    progress = Progress(recipe.num_steps, "pretrain", "steps", initial=standing.step)
    losses: list[torch.Tensor] = []  # of the steps since the last logged one
    with log, progress, stop_at_sigterm(accelerator):
        while standing.step < recipe.num_steps:
            started = time.monotonic()
            learning_rate = recipe.learning_rate * factor(
                standing.step, recipe.num_steps, recipe.schedule, recipe.warmup_share
            )
            for group in itertools.chain(*(optimizer.param_groups for optimizer in optimizers)):
                group["lr"] = learning_rate
            torch.manual_seed(step_seed(job.seed, standing.step, accelerator.process_index))  # for dropout
            loss = forward_backward(model, order[standing.step], end_id, micro_batches, accelerator)
            gradient_norm = accelerator.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            if torch.isfinite(gradient_norm):
                for optimizer in optimizers:
                    optimizer.step()
                losses.append(loss)
            else:
                skip(standing, recipe)
            model.zero_grad()
            standing.step += 1
            standing.seconds += time.monotonic() - started

            last = standing.step == recipe.num_steps
            entry: dict[str, float | int] = {"step": standing.step}
            if losses and (last or standing.step % recipe.log_every == 0):
                standing.loss = accelerator.reduce(torch.stack(losses).mean(), reduction="mean").item()
                losses.clear()
                entry |= {"learning_rate": learning_rate, "gradient_norm": float(gradient_norm)}
                entry |= figures(standing, recipe)
            if not last and standing.step % recipe.evaluate_every == 0:
                scores = heldout.score(bare, rows, accelerator, limit=EVALUATION_ROWS)
                entry["heldout_bits_per_byte"] = heldout.bits_per_byte(scores, rows)
            log.write(entry)
            progress.update(1, loss=standing.loss)

            stopping = accelerator.check_trigger()
            if stopping or (standing.step % recipe.checkpoint_every == 0 and not last):
                if accelerator.is_main_process:
                    save_atomically(
                        job.resume / f"step-{standing.step}",
                        lambda folder: state.write(folder, bare, optimizers, standing),
                        keep=CHECKPOINTS_KEPT,
                    )
                accelerator.wait_for_everyone()
            if stopping:
                raise SystemExit(SIGTERM_STATUS)

    def another() -> None:
        forward_backward(model, order[0], end_id, micro_batches, accelerator)
        model.zero_grad()

    return standing, peak_bytes(another, [*model.parameters(), *state.tensors(optimizers)], accelerator.device)


def figures(standing: state.Standing, recipe: Recipe) -> dict[str, float | int]:
    """What the log and the metrics say about the way so far. loss: nats per token, a mean since the last logged."""
    tokens = standing.step * recipe.batch_size * recipe.context
    return {
        "loss": standing.loss,
        "tokens": tokens,
        "seconds": round(standing.seconds, 3),
        "tokens_per_second": round(tokens / max(standing.seconds, 1e-9), 1),
    }


def forward_backward(
    model: torch.nn.Module,
    batch: tuple[np.ndarray, np.ndarray],
    end_id: int,
    micro_batches: list[slice],
    accelerator: Accelerator,
) -> torch.Tensor:
    """Adds the gradient of the batch's mean loss to the parameters; returns this process's share of that loss."""
    # All (batch_size, context), the same on every process. Positions that begin anew keep a row's documents apart.
    ids, targets, places = (torch.from_numpy(array) for array in (*batch, positions(batch[0], end_id)))
    # DDP averages gradients over processes; each one's part of the sum over all targets must therefore be scaled up.
    scale = accelerator.num_processes / int((targets != IGNORE).sum())
    loss = torch.zeros((), device=accelerator.device)
    for number, rows in enumerate(micro_batches, start=1):
        # Gradients add up here, and are exchanged once, with the last part.
        with contextlib.nullcontext() if number == len(micro_batches) else accelerator.no_sync(model):
            with accelerator.autocast():
                # With a cache, which only generation reads, or with an attention_mask, documents would be mixed.
                logits = model(
                    input_ids=ids[rows].to(loss.device), position_ids=places[rows].to(loss.device), use_cache=False
                ).logits  # (B, T, V)
            part = scale * F.cross_entropy(
                logits.flatten(0, 1).float(),
                targets[rows].flatten().to(loss.device),
                ignore_index=IGNORE,
                reduction="sum",
            )
            accelerator.backward(part)
        loss += part.detach()
    return loss


def shares(recipe: Recipe, accelerator: Accelerator) -> list[slice]:
    """The rows of each micro-batch of this process: its contiguous share of the global batch, cut up."""
    share, rest = divmod(recipe.batch_size, accelerator.num_processes)
    micro = recipe.micro_batch_size or share
    if rest or share % micro:
        raise UserError(
            f"pretrain.yaml: batch_size = {recipe.batch_size} must be a multiple of {accelerator.num_processes} "
            f"process(es) x micro_batch_size = {micro}."
        )
    first = accelerator.process_index * share
    return [slice(row, row + micro) for row in range(first, first + share, micro)]


def skip(standing: state.Standing, recipe: Recipe) -> None:
    """Records a step that is left out, its gradient not being finite. Raises UserError when several came in a row."""
    standing.skipped.append(standing.step)
    logger.warning(
        "step %d is left out: its gradient is not finite; rows %d to %d of seed's order",
        standing.step,
        standing.step * recipe.batch_size,
        (standing.step + 1) * recipe.batch_size - 1,
    )
    in_a_row = standing.skipped[-MAX_SKIPPED:]
    if in_a_row == list(range(standing.step - MAX_SKIPPED + 1, standing.step + 1)):
        raise UserError(
            f"pretrain: the gradients of steps {in_a_row} were not finite, so the run stopped before an update could "
            f"spoil the weights. Lower learning_rate = {recipe.learning_rate}, or raise warmup_share = "
            f"{recipe.warmup_share}."
        )


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of a step's random numbers on one process."""
    return random.Random(f"{seed}/pretrain/{step}/{process}").getrandbits(63)
