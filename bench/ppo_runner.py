"""One PPO run for bench.ppo, in whichever environment it is started: `python bench/ppo_runner.py spec.json`

Imports this project only where spec["library"] is "ours", since TRL 1.12.0 lives in an environment of its own.
Writes spec["out"]: seconds of training, episodes, bytes above those after loading, the mean score of every step.
"""

import json
import os
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any


def status(name: str) -> int:
    """Bytes of a line of /proc/self/status: VmRSS, now; VmHWM, the most since `reset`."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(name)


def reset() -> int:
    """Starts the peak anew; the bytes in use now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return status("VmRSS")


def ours(spec: dict[str, Any], folder: str) -> tuple[Any, Any]:
    """(train, scores) of this project's trainer."""
    from pipeline.ppo.trainer import PPOConfig, PPOTrainer

    args = PPOConfig(
        output_dir=folder,
        seed=spec["seed"],
        total_episodes=spec["episodes"],
        batch_size=spec["batch"],
        num_mini_batches=spec["mini_batches"],
        num_ppo_epochs=spec["epochs"],
        micro_batch_size=spec["micro"],
        local_rollout_forward_batch_size=spec["rollout"],
        max_completion_length=spec["length"],
        temperature=spec["temperature"],
        missing_eos_penalty=spec["missing_eos_penalty"],
        learning_rate=spec["learning_rate"],
        kl_coef=spec["kl_coef"],
        max_grad_norm=1e9,  # TRL's clips nothing
        save_steps=10**6,
        num_samples=0,
    )
    trainer = PPOTrainer(
        model=spec["policy"],
        reward_model=spec["reward"],
        args=args,
        train_dataset=[{"prompt": prompt} for prompt in spec["prompts"]],
        value_model=None if spec["value"] == "head" else spec["reward"],
    )
    log = Path(folder) / "log.jsonl"
    return trainer.train, lambda: [json.loads(line)["reward"] for line in log.read_text(encoding="utf-8").splitlines()]


def theirs(spec: dict[str, Any], folder: str) -> tuple[Any, Any]:
    """(train, scores) of TRL's trainer, with the four models that it always has."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
    from trl.experimental.ppo import PPOConfig, PPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(spec["policy"], padding_side="left", eos_token="<|im_end|>")
    args = PPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=False,
        gradient_checkpointing=False,
        seed=spec["seed"],
        total_episodes=spec["episodes"],
        per_device_train_batch_size=spec["micro"],
        gradient_accumulation_steps=spec["batch"] // spec["micro"],
        num_mini_batches=spec["mini_batches"],
        num_ppo_epochs=spec["epochs"],
        local_rollout_forward_batch_size=spec["rollout"],
        response_length=spec["length"],
        stop_token="eos",
        temperature=spec["temperature"],
        missing_eos_penalty=spec["missing_eos_penalty"],
        learning_rate=spec["learning_rate"],
        kl_coef=spec["kl_coef"],
        num_sample_generations=0,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    policy, reference = (AutoModelForCausalLM.from_pretrained(spec["policy"]) for _ in range(2))
    reward, value = (
        AutoModelForSequenceClassification.from_pretrained(spec["reward"], num_labels=1) for _ in range(2)
    )
    trainer = PPOTrainer(
        args=args,
        processing_class=tokenizer,
        model=policy,
        ref_model=reference,
        reward_model=reward,
        value_model=value,
        train_dataset=Dataset.from_dict({"input_ids": spec["ids"]}),
        eval_dataset=Dataset.from_dict({"input_ids": spec["ids"][:1]}),
    )
    return trainer.train, lambda: [
        entry["objective/scores"] for entry in trainer.state.log_history if "objective/scores" in entry
    ]


def main() -> int:
    """Runs the spec."""
    spec = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if spec["library"] == "ours":
        sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as folder:
        train, scores = (ours if spec["library"] == "ours" else theirs)(spec, folder)
        loaded, started, cpu = reset(), time.perf_counter(), time.process_time()
        train()
        found = {
            "seconds": time.perf_counter() - started,
            "cpu_seconds": time.process_time() - cpu,
            "episodes": spec["episodes"],
            "loaded_bytes": loaded,
            "peak_bytes_above": status("VmHWM") - loaded,
            "scores": scores(),
            "packages": {name: version(name) for name in ("torch", "transformers", "accelerate", "trl")},
        }
    Path(spec["out"]).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
    sys.exit(main())
