"""Pretraining: the loop. `make pretrain RECIPE=storyworld`

Reads the tokenizer's artifact: tokenizer/ and the token store. Writes model/ (safetensors and tokenizer, loads with
AutoModelForCausalLM and AutoTokenizer) and log.jsonl: an object of units, then one object a logged step.

Rows, learning rate and random numbers of a step are functions of (recipe, seed, step). So a run that was killed and
resumed ends with the weights of one that was not, and any number of processes sees the same batches.
"""

import itertools
import logging
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.artifact import sha256
from pipeline.checkpoint import newest_valid, save_atomically
from pipeline.engine import Engine, build_engine, start
from pipeline.plan.measure import peak_bytes
from pipeline.plan.predict import predict
from pipeline.pretrain import continued, heldout, state
from pipeline.pretrain.guard import MAX_IN_A_ROW, NOT_FINITE, Guard, stuck
from pipeline.pretrain.model import assembled, build, save
from pipeline.pretrain.optimizer import build_optimizers, check_shares
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.schedule import factor
from pipeline.pretrain.watch import UNITS, Watch
from pipeline.progress import Progress
from pipeline.rows import IGNORE, Order, positions, scoring_rows
from pipeline.stage import Job, UserError
from pipeline.step_log import Log
from pipeline.stopping import SIGTERM_STATUS, stop_at_sigterm
from pipeline.store import open_split, unigram_bits_per_byte

EVALUATION_ROWS = 128  # scored during training; at the end all of them

logger = logging.getLogger(__name__)


def run(job: Job) -> dict[str, float]:
    """The stage's verb: prepares, trains, saves, measures."""
    recipe, source = job.recipe, job.needs("tokenizer")
    accelerator = start(recipe.precision)
    tokenizer = AutoTokenizer.from_pretrained(source / "tokenizer", trust_remote_code=False, local_files_only=True)
    train_split, heldout_split = open_split(source / "store", "train"), open_split(source / "store", "heldout")
    model = prepare_model(recipe, tokenizer, job.seed)
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
    identity = {
        "train_sha256": train_split.sha256,
        "tokenizer_sha256": sha256(source / "tokenizer" / "tokenizer.json"),
        "seed": job.seed,
        **recipe.hashed(),
    }

    (first, *_) = shares(recipe, accelerator)
    predicted = predict(recipe, model, accelerator.num_processes, first.stop - first.start)

    watch = Watch(recipe, model, tokenizer, rows, accelerator)
    standing, engine, memory = train(job, accelerator, model, order, watch, state.Standing(identity=identity))
    if recipe.keep_best and (best := newest_valid(job.resume / "best")) is not None:
        state.read(best, engine.bare, identity)

    scores = heldout.score(engine.bare, rows, accelerator)
    low, high = heldout.interval(scores, rows, job.seed)
    model = assembled(engine.bare, engine.gather()[0]) if engine.in_shares else engine.bare
    if accelerator.is_main_process:
        save(model, tokenizer, job.out / "model")
        shutil.copyfile(job.resume / "log.jsonl", job.out / "log.jsonl")
    accelerator.wait_for_everyone()
    reached = watch.figures(standing)
    return {
        "heldout_bits_per_byte": heldout.bits_per_byte(scores, rows),
        "heldout_bits_per_byte_low": low,
        "heldout_bits_per_byte_high": high,
        "heldout_bits_per_byte_n": len(rows),
        **heldout.by_source(scores, rows, job.seed),
        "unigram_bits_per_byte": unigram_bits_per_byte(train_split, heldout_split),
        "parameters": model.num_parameters(),
        "skipped_steps": len(standing.skipped),
        "skipped_spikes": len(standing.spikes),
        "final_loss": reached.pop("loss"),
        "tokens": reached["tokens"],
        "seconds": reached["seconds"],
        "tokens_per_second": reached["tokens_per_second"],
        **({"mfu": reached["mfu"]} if "mfu" in reached else {}),
        "seconds_per_step": standing.seconds / recipe.num_steps,
        **({"peak_memory_bytes": memory} if memory is not None else {}),
        **predicted,
    }


def prepare_model(recipe: Recipe, tokenizer: PreTrainedTokenizerBase, seed: int) -> PreTrainedModel:
    """Fresh weights, or those of the checkpoint that the run goes on from. Raises UserError where they do not fit."""
    if recipe.continue_from is not None:
        torch.manual_seed(seed)  # rows for added tokens are drawn
        model = continued.load(recipe.continue_from, tokenizer, recipe.context, recipe.attention)
    else:
        model = build(recipe.model, tokenizer, recipe.context, seed, recipe.attention)
    if recipe.activation_checkpointing:
        model.activation_checkpointing_enable()
    return model.train()


def train(
    job: Job, accelerator: Accelerator, model: PreTrainedModel, order: Order, watch: Watch, standing: state.Standing
) -> tuple[state.Standing, Engine, int | None]:
    """The loop: from the newest valid checkpoint, or from nothing, to the last step. Returns where it stands then, the
    engine with the model, and the most bytes of tensors that a step holds in this process, where they can be told."""
    recipe: Recipe = job.recipe
    micro_batches = shares(recipe, accelerator)
    engine, standing = wrap(job, accelerator, model, standing)
    forward = torch.compile(engine.model) if recipe.compile else engine.model
    guard = Guard(standing.losses)
    log = Log(
        job.resume / "log.jsonl", step=standing.step, writes=accelerator.is_main_process, header={"units": UNITS}
    )
    progress = Progress(recipe.num_steps, "pretrain", "steps", initial=standing.step)
    seen: list[torch.Tensor] = []  # losses of the steps since the last logged one
    with log, progress, stop_at_sigterm(accelerator):
        while standing.step < recipe.num_steps:
            started = time.monotonic()
            learning_rate = recipe.learning_rate * factor(
                standing.step, recipe.num_steps, recipe.schedule, recipe.warmup_share
            )
            for group in itertools.chain(*(optimizer.param_groups for optimizer in engine.optimizers)):
                group["lr"] = learning_rate
            torch.manual_seed(step_seed(job.seed, standing.step, accelerator.process_index))  # for dropout
            losses = forward_backward(forward, order[standing.step], watch.end_id, micro_batches, recipe, engine)
            losses = accelerator.reduce(losses, reduction="mean")
            gradient_norm = engine.clip(recipe.max_grad_norm)
            fault = guard.fault(losses[0].item(), gradient_norm)
            if fault is None:
                engine.step()
                seen.append(losses)
            else:
                engine.discard()
                leave_out(standing, recipe, fault, log)
            standing.step += 1
            standing.seconds += time.monotonic() - started

            last = standing.step == recipe.num_steps
            entry: dict[str, Any] = {"step": standing.step}
            if seen and (last or standing.step % recipe.log_every == 0):
                entry |= watch.losses(torch.stack(seen).mean(dim=0), standing)
                seen.clear()
                entry |= {"learning_rate": learning_rate, "gradient_norm": gradient_norm}
                entry |= watch.figures(standing)
            standing.losses = list(guard.losses)
            if standing.step % recipe.evaluate_every == 0 and (not last or recipe.keep_best):
                entry |= watch.evaluate(engine, EVALUATION_ROWS)
                if recipe.keep_best and entry["heldout_bits_per_byte"] < standing.best:
                    standing.best = entry["heldout_bits_per_byte"]
                    keep(job.resume / "best" / f"step-{standing.step}", engine, standing, 1)
            log.write(entry)
            progress.update(1, loss=standing.loss)

            stopping = accelerator.check_trigger()
            if stopping or (standing.step % recipe.checkpoint_every == 0 and not last):
                keep(job.resume / f"step-{standing.step}", engine, standing, recipe.keep_last)
            if stopping:
                raise SystemExit(SIGTERM_STATUS)

    def another() -> None:
        forward_backward(forward, order[0], watch.end_id, micro_batches, recipe, engine)
        engine.model.zero_grad()

    return standing, engine, step_bytes(another, engine)


def wrap(
    job: Job, accelerator: Accelerator, model: PreTrainedModel, standing: state.Standing
) -> tuple[Engine, state.Standing]:
    """The engine with model and optimisers as the newest valid checkpoint has them, and where it stood."""
    checkpoint, moments = newest_valid(job.resume), None
    if checkpoint is not None:
        standing, moments = state.read(checkpoint, model, standing.identity)
    recipe: Recipe = job.recipe
    (first, *_) = shares(recipe, accelerator)
    check_shares(recipe, accelerator.distributed_type)
    optimizers = build_optimizers(model, recipe.optimizer, recipe.weight_decay)
    engine = build_engine(accelerator, model, optimizers, first.stop - first.start, recipe.max_grad_norm)
    if moments is not None:
        engine.restore(moments)
    return engine, standing


def step_bytes(step: Callable[[], None], engine: Engine) -> int | None:
    """The most bytes of tensors in this process while it makes another step, whose gradient is forgotten. None where
    they cannot be told: DeepSpeed's, and of several processes on CPU, where only the main thread's are seen."""
    accelerator = engine.accelerator
    if type(engine) is not Engine or (accelerator.num_processes > 1 and accelerator.device.type != "cuda"):
        return None
    held = [*engine.model.parameters(), *state.tensors(engine.optimizers)]
    return peak_bytes(step, held, accelerator.device)


def forward_backward(
    model: torch.nn.Module,
    batch: tuple[np.ndarray, np.ndarray],
    end_id: int,
    micro_batches: list[slice],
    recipe: Recipe,
    engine: Engine,
) -> torch.Tensor:
    """Adds the gradient of the batch's mean loss to the parameters. Returns this process's share of it: (3,), cross
    entropy, z-loss, the experts' balance; the last two unweighted."""
    # All (batch_size, context), the same on every process. Positions that begin anew keep a row's documents apart.
    ids, targets, places = (torch.from_numpy(array) for array in (*batch, positions(batch[0], end_id)))
    device, processes = engine.accelerator.device, engine.accelerator.num_processes
    # DDP averages gradients over processes; each one's part of the sum over all targets must therefore be scaled up.
    scale = processes / int((targets != IGNORE).sum())
    balances = getattr(engine.bare.config, "router_aux_loss_coef", None)  # a mixture of experts has one
    losses = torch.zeros(3, device=device)
    for number, rows in enumerate(micro_batches, start=1):
        last = number == len(micro_batches)
        with engine.accumulation(last):
            with engine.accelerator.autocast():
                # With a cache, which only generation reads, or with an attention_mask, documents would be mixed.
                output = model(
                    input_ids=ids[rows].to(device), use_cache=False,
                    **({"position_ids": places[rows].to(device)} if recipe.documents_apart else {}),
                    **({} if balances is None else {"output_router_logits": True}),
                )  # fmt: skip
            logits = output.logits.flatten(0, 1).float()  # (B T, V)
            expected = targets[rows].flatten().to(device)
            part = scale * F.cross_entropy(logits, expected, ignore_index=IGNORE, reduction="sum")
            losses[0] += part.detach()
            if recipe.z_loss:
                z = scale * (torch.logsumexp(logits, dim=-1)[expected != IGNORE] ** 2).sum()
                losses[1] += z.detach()
                part = part + recipe.z_loss * z
            if balances is not None:
                balance = output.aux_loss / len(micro_batches)
                losses[2] += balance.detach()
                part = part + balances * balance
            engine.backward(part, last)
    return losses


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


def leave_out(standing: state.Standing, recipe: Recipe, fault: str, log: Log) -> None:
    """Records a step without an update, and the rows that it was about. Raises UserError where three in a row had a
    loss or gradient that is no number."""
    first, end = standing.step * recipe.batch_size, (standing.step + 1) * recipe.batch_size
    what = "its loss or gradient is not finite" if fault == NOT_FINITE else "its loss is a spike"
    logger.warning("step %d is left out: %s; rows %d to %d of seed's order", standing.step, what, first, end - 1)
    log.write({"step": standing.step, "left_out": what, "first_row": first, "last_row": end - 1})
    (standing.skipped if fault == NOT_FINITE else standing.spikes).append(standing.step)
    if stuck(standing.skipped):
        raise UserError(
            f"pretrain: the losses or gradients of steps {standing.skipped[-MAX_IN_A_ROW:]} were not finite, so the "
            f"run stopped before an update could spoil the weights. Lower learning_rate = {recipe.learning_rate}, or "
            f"raise warmup_share = {recipe.warmup_share}."
        )


def keep(folder: Path, engine: Engine, standing: state.Standing, number: int) -> None:
    """Writes a checkpoint from all processes' shares, and keeps the newest `number` beside it."""
    held = engine.gather()
    if engine.accelerator.is_main_process:
        save_atomically(folder, lambda place: state.write(place, held, standing), keep=number)
    engine.accelerator.wait_for_everyone()


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of a step's random numbers on one process."""
    return random.Random(f"{seed}/pretrain/{step}/{process}").getrandbits(63)
