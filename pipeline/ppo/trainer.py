"""PPO for language models, in TRL's conventions (TRL gave up its own in 1.13).

    from pipeline.ppo.trainer import PPOConfig, PPOTrainer

    trainer = PPOTrainer(
        model="sft/model", reward_model="reward/model", args=PPOConfig(output_dir="out"), train_dataset=prompts
    )
    trainer.train()
    trainer.save_model("out/model")

The loop is that of Ziegler et al. 2019 (1909.08593) with the details of Huang et al. 2024 (2403.17031): answers are
drawn, scored, and learned from in num_ppo_epochs passes; leaving the reference costs reward, token by token.
Writes to output_dir: log.jsonl (an object a step), samples.jsonl (some answers of each), step-<n>/ (checkpoints).

Dropout stays off: with it the ratio of the first mini-batch would not be 1, and clipping would act on noise.
"""

import copy
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import DistributedType
from peft import PeftConfig
from torch import Tensor
from transformers import AutoTokenizer

from pipeline.checkpoint import newest_valid, numbered, save_atomically
from pipeline.engine import start, trained
from pipeline.generate import window
from pipeline.ppo import state
from pipeline.ppo.advantages import kl_per_token, token_rewards
from pipeline.ppo.config import PPOConfig
from pipeline.ppo.data import Prompt, check_room, dealt, encode_prompts, fingerprint, step_seed
from pipeline.ppo.learner import Learner, micro_batch_size
from pipeline.ppo.load import load_classifier, load_policy, load_reference
from pipeline.ppo.model import ActorCritic, Batch
from pipeline.ppo.rewards import RewardFunction, RewardModel, adapted, check_finite, check_reward_model, shaped
from pipeline.ppo.rollout import Rollout, answer_log_probs, collect, draw
from pipeline.progress import Progress
from pipeline.stage import UserError
from pipeline.step_log import Log
from pipeline.stopping import SIGTERM_STATUS, stop_at_sigterm

CHECKPOINTS_KEPT = 2
MAX_SKIPPED = 3  # steps in a row with an update whose gradient is not finite, then the run stops

logger = logging.getLogger(__name__)


class PPOTrainer:
    """Trains a causal language model by PPO.

    model: the policy, or where it lies. reward_model: a sequence classifier with one output, where it lies, or a
    Python function (pipeline.ppo.rewards.RewardFunction says how it is called). train_dataset: rows with a `prompt`.
    processing_class: the tokenizer; None: the one beside the model. ref_model: None for a frozen copy of the model, or
    the model with its adapter off. value_model: None for a head on the policy; else a sequence classifier, or where it
    lies, which is trained. peft_config: of a new adapter, or where one lies.

    Raises UserError where these do not belong together.
    """

    def __init__(
        self,
        model: Any,
        reward_model: Any,
        args: PPOConfig,
        train_dataset: Iterable[dict[str, Any]],
        *,
        processing_class: Any | None = None,
        ref_model: Any | None = None,
        value_model: Any | None = None,
        peft_config: PeftConfig | str | Path | None = None,
    ) -> None:
        self.args = args
        self.accelerator = start("auto")
        check_engine(self.accelerator.distributed_type)
        torch.manual_seed(args.seed)  # for a new adapter's weights
        policy = load_policy(model, peft_config)
        self.processing_class = processing_class or AutoTokenizer.from_pretrained(
            policy.config._name_or_path, trust_remote_code=False
        )
        self.prompts = encode_prompts(self.processing_class, train_dataset)
        check_room(self.prompts, window(policy), args.max_completion_length)
        needed = max(len(prompt.ids) for prompt in self.prompts) + args.max_completion_length
        reference = load_reference(ref_model, policy)
        self.reference = None if reference is None else reference.to(self.accelerator.device)
        self.reward = self._load_reward(reward_model, needed)
        if value_model is not None:
            value_model, its_tokenizer = load_classifier(value_model, "value_model")
            check_reward_model(value_model, its_tokenizer, self.processing_class, needed)
        self._started = ActorCritic(policy, value_model).eval()
        micro_batch_size(args, self.accelerator.num_processes)
        identity = {
            "start": state.start(self._started),
            "prompts": fingerprint(self.prompts),
            "processes": self.accelerator.num_processes,
            **{key: value for key, value in asdict(args).items() if key not in ("output_dir", "save_steps")},
        }
        self.standing = state.Standing(identity=identity, kl_coef=args.kl_coef)

    def _load_reward(self, reward_model: Any, needed: int) -> Callable[[Sequence[Prompt], Any], list[float]]:
        if callable(reward_model) and not isinstance(reward_model, torch.nn.Module):
            return RewardFunction(reward_model, self.processing_class)
        classifier, its_tokenizer = load_classifier(reward_model, "reward_model")
        check_reward_model(classifier, its_tokenizer, self.processing_class, needed)
        classifier = classifier.requires_grad_(False).to(self.accelerator.device)
        return RewardModel(classifier, self.processing_class, self.args.local_rollout_forward_batch_size)

    @cached_property
    def learner(self) -> Learner:
        """Policy, critic and optimiser. Wrapped at first use, so that a checkpoint is read into whole weights."""
        if self.accelerator.distributed_type == DistributedType.DEEPSPEED and self.accelerator.is_main_process:
            self._spare = copy.deepcopy(self._started.policy).cpu()
        return Learner(self.args, self._started, self.accelerator, self.processing_class.pad_token_id or 0)

    @property
    def model(self) -> ActorCritic:
        """Policy and critic; under ZeRO-3 this process's share of them."""
        return self.learner.model

    def train(self, resume_from_checkpoint: bool = False) -> state.Standing:
        """Trains to the last step, or until kl_budget is spent; from the newest whole checkpoint if told to.

        Raises SystemExit(143) after SIGTERM, with a checkpoint made at the end of the running step.
        """
        folder = Path(self.args.output_dir)
        folder.mkdir(parents=True, exist_ok=True)
        self._resume(folder, resume_from_checkpoint)
        main, standing = self.accelerator.is_main_process, self.standing
        log = Log(folder / "log.jsonl", step=standing.step, writes=main)
        samples = Log(folder / "samples.jsonl", step=standing.step, writes=main)
        progress = Progress(self.args.num_steps, "ppo", "steps", initial=standing.step)
        with log, samples, progress, stop_at_sigterm(self.accelerator):
            while standing.step < self.args.num_steps and not standing.over_budget:
                rollout, entry = self.step()
                for row in range(min(self.args.num_samples, len(rollout.answers))):
                    samples.write(self._sample(rollout, row))
                log.write(entry)
                progress.update(1, reward=entry["reward"], kl=entry["kl"])
                stopping = self.accelerator.check_trigger()
                if stopping or (standing.step % self.args.save_steps == 0 and standing.step < self.args.num_steps):
                    self._save_checkpoint(folder)
                if stopping:
                    raise SystemExit(SIGTERM_STATUS)
        return standing

    def step(self) -> tuple[Rollout, dict[str, float]]:
        """One step: episodes, rewards, updates. Returns this process's episodes and the log's entry."""
        args, standing = self.args, self.standing
        started = time.monotonic()
        rollout = self.rollout(standing.step)
        everyone = self.accelerator.gather(torch.from_numpy(rollout.scores).to(self.accelerator.device)).cpu().numpy()
        check_finite(everyone, self._dealt(standing.step), standing.step)
        standing.rewards.update(everyone)
        standing.rewards.check_varies(standing.step + 1, standing.step + 1 == args.num_steps)
        earned = shaped(rollout.scores, rollout.ended, standing.rewards, args)
        kl = kl_per_token(rollout.log_probs, rollout.ref_log_probs, args.kl_estimator)  # (B, T)
        means = self._means(rollout, earned, kl)
        standing.kl = means["kl"]
        standing.over_budget = args.kl_budget is not None and standing.kl > args.kl_budget
        updated: dict[str, float] = {}
        kl_coef = standing.kl_coef
        if not standing.over_budget:
            began = time.monotonic()
            rewards = token_rewards(torch.from_numpy(earned).to(kl), kl, rollout.mask, kl_coef)
            updated = self.learner.update(rollout, rewards, standing.step)
            rollout.seconds["update"] = time.monotonic() - began
            if updated["skipped_updates"]:
                self._skip()
            standing.kl_coef = adapted(kl_coef, standing.kl, args)
        standing.step += 1
        elapsed = time.monotonic() - started
        standing.seconds += elapsed
        entry = {
            "step": standing.step,
            "episodes": standing.step * args.batch_size,
            **means,
            "kl_coef": kl_coef,
            **updated,
            **{f"seconds_{what}": round(seconds, 4) for what, seconds in rollout.seconds.items()},
            "episodes_per_second": round(args.batch_size / elapsed, 2),
        }
        return rollout, entry

    def rollout(self, step: int) -> Rollout:
        """This process's episodes of a step, drawn from the policy as it is."""
        args, process = self.args, self.accelerator.process_index
        local = args.batch_size // self.accelerator.num_processes
        prompts = self._dealt(step)[process * local : (process + 1) * local]
        began = time.monotonic()
        seed = step_seed(args.seed, "answers", step, process)
        with self.learner.engine.held():
            with self.accelerator.autocast():
                answers = draw(self.model.policy, self.processing_class, prompts, args, seed)
            drawn = time.monotonic() - began
            rollout = collect(
                self.model, self._reference_log_probs, self._scores, self.processing_class, prompts, answers, args
            )
        rollout.seconds = {"generation": drawn, **rollout.seconds}
        return rollout

    def _dealt(self, step: int) -> list[Prompt]:
        """The prompts of a step, over all processes."""
        return [self.prompts[i] for i in dealt(len(self.prompts), self.args.batch_size, step, self.args.seed)]

    def _means(self, rollout: Rollout, earned: np.ndarray, kl: Tensor) -> dict[str, float]:
        """What the log says about the episodes, over all processes. kl: nats an answer; entropy: nats a token."""
        answers, tokens = len(rollout.answers), rollout.mask.sum()
        kl_sum = float(kl.sum()) / answers
        local = {
            "score": rollout.scores.mean(),  # as the reward model gave it
            "reward": earned.mean(),  # standardised, clipped, penalised
            "reward_with_kl": earned.mean() - self.standing.kl_coef * kl_sum,
            "kl": kl_sum,
            "entropy": float(rollout.entropies.sum() / tokens),
            "length": float(tokens) / answers,
            "ended": rollout.ended.mean(),
            "value": float(rollout.values.sum() / tokens),
        }
        values = torch.tensor([float(value) for value in local.values()], device=kl.device)
        means = dict(zip(local, self.accelerator.reduce(values, "mean").tolist(), strict=True))
        return {**means, "score_std": self.standing.rewards.deviation}

    def _reference_log_probs(self, batch: Batch) -> Tensor:
        """Log-probabilities (N,) under the reference."""
        with self.accelerator.autocast():
            if self.reference is not None:
                return answer_log_probs(self.reference, batch, self.args.temperature)
            with self.model.policy.disable_adapter():
                return answer_log_probs(self.model.policy, batch, self.args.temperature)

    def _scores(self, prompts: Sequence[Prompt], answers: Any) -> list[float]:
        with self.accelerator.autocast():
            return self.reward(prompts, answers)

    def _sample(self, rollout: Rollout, row: int) -> dict[str, Any]:
        """A row of samples.jsonl. kl: nats of this answer (k1)."""
        shift = rollout.log_probs[row] - rollout.ref_log_probs[row]
        return {
            "step": self.standing.step,
            "prompt": rollout.prompts[row].prompt,
            "answer": self.processing_class.decode(rollout.answers[row], skip_special_tokens=True).strip(),
            "score": float(rollout.scores[row]),
            "kl": round(float(shift.sum()), 4),
            "length": int(rollout.lengths[row]),
            "ended": bool(rollout.ended[row]),
        }

    def _skip(self) -> None:
        """Notes a step with an update that was left out. Raises UserError when several came in a row."""
        step, skipped = self.standing.step, self.standing.skipped
        skipped.append(step)
        logger.warning("step %d: an update is left out, its gradient is not finite", step + 1)
        if skipped[-MAX_SKIPPED:] == list(range(step - MAX_SKIPPED + 1, step + 1)):
            raise UserError(
                f"ppo: {MAX_SKIPPED} steps in a row had a gradient that is not finite, so the run stopped. Lower "
                f"learning_rate = {self.args.learning_rate:g}, or bound the reward with reward_clip."
            )

    def _resume(self, folder: Path, wanted: bool) -> None:
        if not wanted:
            if numbered(folder):
                raise UserError(
                    f"{folder}: holds checkpoints of an earlier run. Go on from them with "
                    "train(resume_from_checkpoint=True), or name another output_dir."
                )
            return
        newest = newest_valid(folder)
        if newest is not None:
            logger.info("ppo: resumes from %s", newest.name)
            self.standing, moments = state.read(newest, self._started, self.standing.identity)
            self.learner.engine.restore(moments)

    def _save_checkpoint(self, folder: Path) -> None:
        held = self.learner.engine.gather()
        if self.accelerator.is_main_process:
            save_atomically(
                folder / f"step-{self.standing.step}",
                lambda temporary: state.write(temporary, held, self.standing),
                keep=CHECKPOINTS_KEPT,
            )
        self.accelerator.wait_for_everyone()

    def policy(self) -> Any:
        """The trained policy, whole, in the main process; every process must ask, and the others get None."""
        engine = self.learner.engine
        if not engine.in_shares:
            return self.model.policy
        weights, _ = engine.gather()
        if not self.accelerator.is_main_process:
            return None
        with torch.no_grad():
            for name, parameter in trained(self._spare).items():
                parameter.copy_(weights[f"policy.{name}"])
        return self._spare

    def save_model(self, folder: str | Path) -> None:
        """Writes the policy (of one with an adapter the adapter) and the tokenizer."""
        policy = self.policy()
        if self.accelerator.is_main_process:
            policy.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)
        self.accelerator.wait_for_everyone()


def check_engine(engine: DistributedType) -> None:
    """Raises UserError for an engine that PPO does not run under."""
    if engine == DistributedType.FSDP:
        raise UserError("ppo: does not run under FSDP2. Say ACCEL=ddp, zero2 or zero3.")
