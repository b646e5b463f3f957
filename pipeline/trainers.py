"""What the stages that train with TRL share: the settings that we make, whole checkpoints, the log, clean stops.

Reads a Job and a TRL trainer; writes checkpoints under job.resume and `log.jsonl` in job.out, an object a logged step.

    trainer = SFTTrainer(args=SFTConfig(**{**common(job), **recipe.trainer}), ...)
    train(trainer, job, "sft")

A plain Trainer writes its checkpoints in place, takes a half-written one for good, goes on training when the loss
is NaN, and loses all since the last checkpoint on SIGTERM. What is here mends these four.
"""

import contextlib
import functools
import json
import logging
import math
import signal
import time
from pathlib import Path
from types import FrameType, MethodType
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from trl.trainer.utils import FusedCausalLMOutput

from pipeline import checkpoint
from pipeline.progress import Progress
from pipeline.stage import Job, UserError

SIGTERM_STATUS = 143
KEEP_CHECKPOINTS = 2
# Library names of what is logged -> ours, with the unit or the meaning in it.
RENAMED = {
    "num_tokens": "tokens", "reward": "score", "reward_std": "score_std", "completions/mean_length": "length",
    "frac_reward_zero_std": "groups_all_alike",
}  # fmt: skip

log = logging.getLogger(__name__)


def common(job: Job) -> dict[str, Any]:
    """The keys of TrainingArguments that every stage sets; those of a recipe's `trainer:` section go over them.

    float32 on CPU: without AVX512_BF16 or AMX, bf16 is some 25 times slower there.
    """
    gpu = torch.cuda.is_available()
    return {
        "output_dir": str(job.resume / "trainer"),
        "seed": job.seed,
        "data_seed": job.seed,
        "use_cpu": not gpu,
        "bf16": gpu and torch.cuda.is_bf16_supported(),
        "report_to": "none",
        "disable_tqdm": True,
        "logging_nan_inf_filter": False,
        "save_strategy": "steps",
        "save_steps": 200,
        # Older checkpoints are removed by SealedCheckpoints, once a newer one is whole.
        "save_total_limit": None,
        "eval_strategy": "no",
        "activation_checkpointing": False,
    }


def train(trainer: Any, job: Job, what: str) -> None:
    """Trains to the end, from the newest whole checkpoint if a killed run left one; `what` is shown as it goes.

    Raises SystemExit(143) after SIGTERM, with a checkpoint made at the end of the running step; UserError when the
    loss or a gradient is no number.
    """
    # With disable_tqdm the library prints every log entry as a dict; JsonLog and ProgressLines say it better.
    trainer.remove_callback(PrinterCallback)
    # StopOnSigterm comes last, since it ends the process when training has ended.
    for callback in (
        StopOnNan(), JsonLog(job.out / "log.jsonl"), SealedCheckpoints(), ProgressLines(what), StopOnSigterm(),
    ):  # fmt: skip
        trainer.add_callback(callback)
    trainer.train(resume_from_checkpoint=newest_checkpoint(job))


def newest_checkpoint(job: Job) -> str | None:
    """The newest whole checkpoint. Broken newer ones are removed, since the trainer would write into them."""
    folder = Path(common(job)["output_dir"])
    newest = checkpoint.newest_valid(folder)
    for broken in checkpoint.numbered(folder):
        if newest is not None and broken.name == newest.name:
            break
        # Several processes come here at once; the first one's removal is enough.
        with contextlib.suppress(FileNotFoundError):
            checkpoint.remove(broken)
    if newest is None:
        return None
    log.info("%s: resumes from %s", job.stage, newest.name)
    return str(newest)


class SealedCheckpoints(TrainerCallback):
    """Seals each checkpoint once every process has written its part, then removes all but the newest two.

    training_args.bin goes first: it is a pickle, it would hold a hub token in clear, and nothing here reads it.
    """

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        args.distributed_state.wait_for_everyone()
        if not state.is_world_process_zero:
            return
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        (folder / "training_args.bin").unlink(missing_ok=True)
        checkpoint.seal(folder)
        for old in checkpoint.numbered(folder.parent)[KEEP_CHECKPOINTS:]:
            checkpoint.remove(old)


class StopOnNan(TrainerCallback):
    """Stops before a step whose gradients are not finite: the weights stay as they were, nothing is saved."""

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # Under ZeRO the engine holds the gradients; there the logged loss has to do.
        gradients = [p.grad for p in kwargs["model"].parameters() if p.grad is not None]
        if gradients and not bool(torch.isfinite(torch.nn.utils.get_total_norm(gradients))):
            raise UserError(_not_finite("a gradient", state.global_step + 1, args))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if not math.isfinite((logs or {}).get("loss", 0.0)):
            raise UserError(_not_finite("the loss", state.global_step, args))


def _not_finite(what: str, step: int, args: TrainingArguments) -> str:
    return (
        f"{what} is not a finite number at step {step} (learning_rate {args.learning_rate:g}, max_grad_norm "
        f"{args.max_grad_norm:g}). Lower learning_rate or raise warmup_steps under `trainer:`; the last checkpoint "
        "before it is kept."
    )


class StopOnSigterm(TrainerCallback):
    """Makes SIGTERM end the run at a step's end, with a checkpoint and status 143; all processes at the same step."""

    def __init__(self) -> None:
        self.received = False
        self.old: Any = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.old = signal.signal(signal.SIGTERM, self._note)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if args.world_size > 1:
            flag = torch.tensor(int(self.received), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.received = bool(flag)
        if self.received:
            control.should_save = True
            control.should_training_stop = True

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        signal.signal(signal.SIGTERM, self.old)
        if self.received:
            raise SystemExit(SIGTERM_STATUS)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.received = True


class JsonLog(TrainerCallback):
    """Writes log.jsonl. A resumed run first writes what the trainer's state remembers, so no step stands twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.since = time.monotonic()
        self.tokens = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.since = time.monotonic()
        self.tokens = max((entry.get("num_tokens", 0) for entry in state.log_history), default=0)
        if state.is_world_process_zero:
            self.path.write_text("".join(_line(entry) for entry in state.log_history), encoding="utf-8")

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        entry = state.log_history[-1]
        # The summary at the end of training repeats what is in the metrics.
        if "train_runtime" in entry or not state.is_world_process_zero:
            return
        now = time.monotonic()
        if "num_tokens" in entry:
            entry["tokens_per_second"] = round((entry["num_tokens"] - self.tokens) / max(now - self.since, 1e-9), 1)
            self.tokens = entry["num_tokens"]
        self.since = now
        with self.path.open("a", encoding="utf-8") as file:
            file.write(_line(entry))


def _line(entry: dict[str, Any]) -> str:
    first = {"step": entry["step"]}
    rest = {RENAMED.get(key, key): value for key, value in entry.items() if key != "step"}
    return json.dumps(first | rest, ensure_ascii=False) + "\n"


class ProgressLines(TrainerCallback):
    """Shows steps done, rate, time left and the last logged loss."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.progress: Progress | None = None
        self.shown: dict[str, float] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.is_world_process_zero:
            self.progress = Progress(state.max_steps, self.what, "steps", initial=state.global_step)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        self.shown = {"loss": float(logs["loss"])} if logs and "loss" in logs else self.shown

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.progress is not None:
            self.progress.update(1, **self.shown)

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.progress is not None:
            self.progress.__exit__()


# Config keys of models that change logits after the output layer, or add a loss: TRL's own head knows them.
_SPECIAL_HEADS = (
    "final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling",
    "output_router_logits",
)  # fmt: skip


def score_trained_positions_only(model: Any, temperature: float = 1.0) -> bool:
    """Makes a TRL trainer's model on CPU compute the logits of trained positions only; returns whether it does now.

    Call it with a causal language model, without adapter wrapping, after TRL gave it a head of its own. temperature:
    what the logits are divided by. TRL 1.16 skips prompt and padding on GPUs, but on CPU it scores every position and
    throws the logits away: with 1M parameters and a vocabulary of 2,048 that is a third of the step (4,700 against
    7,400 tokens/s on one core). It also calls the output layer as a module, where TRL multiplies by its weight, which
    misses an adapter of single token rows.
    `log_sum_sq_probs` is not given, so DPO's use_weighting needs TRL's own.
    """
    config = model.config.get_text_config().to_dict()
    if model.device.type != "cpu" or any(config.get(key) is not None for key in _SPECIAL_HEADS):
        return False
    inner = model.forward

    @functools.wraps(type(model).forward)  # what looks at its parameters must find the model's own
    def forward(
        self: Any,
        *args: Any,
        fused_lm_head: bool = False,
        labels: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> Any:
        if not fused_lm_head or labels is None:
            return inner(*args, **kwargs, **({} if labels is None else {"labels": labels}))
        items = kwargs.pop("num_items_in_batch", None)
        hidden = self.base_model(*args, **{**kwargs, "use_cache": False}).last_hidden_state[:, :-1]  # (B, T-1, H)
        wanted = labels[:, 1:]
        mask = wanted != -100  # (B, T-1)
        logits = self.get_output_embeddings()(hidden[mask]).float() / temperature  # (trained, V)
        log_probs = -F.cross_entropy(logits, wanted[mask], reduction="none")
        with torch.no_grad():
            all_log_probs = logits.log_softmax(-1)
            entropy = -(all_log_probs.exp() * all_log_probs).sum(-1)
            is_top1 = logits.argmax(-1) == wanted[mask]  # a truth value: DPO combines it with a mask
            mean_logits = logits.mean(-1)
        scattered = {
            name: torch.zeros_like(mask, dtype=values.dtype).masked_scatter(mask, values)
            for name, values in {
                "log_probs": log_probs, "entropy": entropy, "is_top1": is_top1, "mean_logits": mean_logits,
            }.items()
        }  # fmt: skip
        loss = -log_probs.sum() / (mask.sum().clamp(min=1) if items is None else items)
        return FusedCausalLMOutput(loss=loss, label_mask=mask, **scattered)

    model.forward = MethodType(forward, model)
    return True
