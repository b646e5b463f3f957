"""Tokens a second of the pretraining loop against others around a model of the same shape, and what the loop costs.

    python -m bench.pretrain --nanogpt ~/nanoGPT      (`make bench-pretrain NANOGPT_DIR=~/nanoGPT`)

Contestants: the loop; the barest PyTorch loop around the same model; transformers.Trainer; nanoGPT's model in the
bare loop, where its folder is given. All in float32 with fused AdamW and clipping, on the same random rows. They take
turns, `--steps` steps each (the first of a turn is not counted), and each one's figure is the median of its turns, so
that a machine that slows down does so for all. Writes bench/pretrain.json.
"""

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Trainer, TrainerCallback, TrainingArguments

from pipeline.engine import Engine, start
from pipeline.pretrain import train as loop
from pipeline.pretrain.model import configure
from pipeline.pretrain.optimizer import BETAS
from pipeline.pretrain.recipe import Recipe
from pipeline.pretrain.state import Standing
from pipeline.pretrain.watch import Watch
from pipeline.recipe import validate
from pipeline.rows import Order, scoring_rows
from pipeline.stage import Job
from pipeline.store import StoreWriter, open_split

LLAMA = {"model_type": "llama", "tie_word_embeddings": True}
SHAPES: dict[str, dict[str, Any]] = {
    # nanoGPT's config/train_shakespeare_char.py as its README runs it on a processor.
    "shakespeare": {
        "vocabulary": 65, "context": 64, "batch": 12,
        "model": {**LLAMA, "hidden_size": 128, "intermediate_size": 344, "num_hidden_layers": 4,
                  "num_attention_heads": 4},
        "nanogpt": {"n_layer": 4, "n_head": 4, "n_embd": 128, "dropout": 0.0, "bias": False},
    },
    "2.4M": {
        "vocabulary": 2048, "context": 256, "batch": 8,
        "model": {**LLAMA, "hidden_size": 192, "intermediate_size": 512, "num_hidden_layers": 5,
                  "num_attention_heads": 3},
        "nanogpt": {"n_layer": 5, "n_head": 3, "n_embd": 192, "dropout": 0.0, "bias": False},
    },
}  # fmt: skip
Turn = Callable[[int], list[float]]  # steps -> seconds of each


def nanogpt_module(source: Path) -> Any:
    """model.py of a checkout of nanoGPT."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", source / "model.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["nanogpt_model"] = module
    spec.loader.exec_module(module)
    return module


class Bench:
    """One shape: its rows, its model, and the contestants."""

    def __init__(self, shape: dict[str, Any], folder: Path, compiled: bool, clock: Callable[[], float]) -> None:
        self.shape, self.folder, self.compiled, self.clock = shape, folder, compiled, clock
        vocabulary, context, batch = shape["vocabulary"], shape["context"], shape["batch"]
        rng = np.random.default_rng(0)
        with StoreWriter(folder / "store", vocabulary_size=vocabulary, end_id=0) as writer:
            for split in ("train", "heldout"):
                writer.add(split, rng.integers(1, vocabulary, 200 * context).tolist(), 200 * context)
        train, heldout = (open_split(folder / "store", split) for split in ("train", "heldout"))
        self.order = Order(train, context=context, packing="stream", seed=0, batch=batch)
        self.rows = scoring_rows(heldout, context=context)
        self.tokens = context * batch
        self.shares: list[float] = []  # of the loop's steps, outside forward, backward and optimiser

    def recipe(self, steps: int) -> Recipe:
        """Of one turn of the loop."""
        keys = {
            "model": {**self.shape["model"], "vocab_size": self.shape["vocabulary"]}, "packing": "stream",
            "steps": steps,
            "context": self.shape["context"], "batch_size": self.shape["batch"], "optimizer": "adamw",
            "learning_rate": 1e-3, "evaluate_every": 10**6, "checkpoint_every": 10**6, "compile": self.compiled,
            "documents_apart": False,
        }  # fmt: skip
        return validate(Recipe, keys, "bench")

    def model(self) -> Any:
        """The model that all but nanoGPT train."""
        recipe = self.recipe(1)
        config = configure(recipe.model, recipe.context, vocabulary=self.shape["vocabulary"])
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()

    def batch(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets, both (batch, context)."""
        ids, targets = self.order[step]
        return torch.from_numpy(ids), torch.from_numpy(targets)

    def ours(self, steps: int) -> list[float]:
        """The loop as it is, logging and all. A step lasts until the next one begins."""
        begun: list[float] = []
        inside = [0.0]

        def timed(owner: Any, name: str) -> Callable[[], None]:
            real = getattr(owner, name)

            def wrapper(*args: Any) -> Any:
                started = self.clock()
                result = real(*args)
                inside[0] += self.clock() - started
                return result

            setattr(owner, name, wrapper)
            return lambda: setattr(owner, name, real)

        real_factor = loop.factor

        def factor(*args: Any) -> float:
            begun.append(self.clock())
            if len(begun) == 2:
                inside[0] = 0.0
            return real_factor(*args)

        places = ((loop, "forward_backward"), (Engine, "clip"), (Engine, "step"))
        undo = [timed(owner, name) for owner, name in places]
        loop.factor = factor  # type: ignore[assignment]
        real_bytes, loop.step_bytes = loop.step_bytes, lambda *_: None
        try:
            with tempfile.TemporaryDirectory() as folder:
                recipe, accelerator, model = self.recipe(steps), start("float32"), self.model()
                job = Job(
                    stage="pretrain", recipe=recipe, out=Path(folder), inputs={}, seed=0, run_name="bench"
                )  # fmt: skip
                watch = Watch(recipe, model, PreTrainedTokenizerFast, self.rows, accelerator)  # type: ignore[arg-type]
                loop.train(job, accelerator, model, self.order, watch, Standing(identity={}))
        finally:
            loop.factor, loop.step_bytes = real_factor, real_bytes
            for back in undo:
                back()
        begun.append(self.clock())
        self.shares.append(1 - inside[0] / (begun[-1] - begun[1]))
        return np.diff(begun).tolist()

    def bare(self, steps: int) -> list[float]:
        """As little as can be written around the model."""
        model = self.model()
        forward = torch.compile(model) if self.compiled else model

        def loss(ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            logits = forward(input_ids=ids, use_cache=False).logits  # (B, T, V)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

        return self._steps(steps, model, loss)

    def nanogpt(self, source: Path, steps: int) -> list[float]:
        """nanoGPT's model in the bare loop."""
        module = nanogpt_module(source)
        torch.manual_seed(0)
        config = module.GPTConfig(
            vocab_size=self.shape["vocabulary"], block_size=self.shape["context"], **self.shape["nanogpt"]
        )
        model = module.GPT(config)
        forward = torch.compile(model) if self.compiled else model
        return self._steps(steps, model, lambda ids, targets: forward(ids, targets)[1])

    def _steps(self, steps: int, model: Any, loss: Callable[..., torch.Tensor]) -> list[float]:
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=BETAS, weight_decay=0.1, fused=True)
        begun = []
        for step in range(steps):
            begun.append(self.clock())
            loss(*self.batch(step)).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        begun.append(self.clock())
        return np.diff(begun).tolist()

    def trainer(self, steps: int) -> list[float]:
        """transformers.Trainer on the same rows."""
        begun: list[float] = []

        clock = self.clock

        class Clock(TrainerCallback):
            def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
                begun.append(clock())

            def on_train_end(self, *args: Any, **kwargs: Any) -> None:
                begun.append(clock())

        rows = [ids for step in range(steps) for ids in self.batch(step)[0]]
        with tempfile.TemporaryDirectory() as folder:
            Trainer(
                model=self.model(),
                args=TrainingArguments(
                    output_dir=folder, max_steps=steps, per_device_train_batch_size=self.shape["batch"], bf16=False,
                    use_cpu=not torch.cuda.is_available(), optim="adamw_torch_fused", learning_rate=1e-3,
                    logging_steps=10, save_strategy="no", report_to="none", disable_tqdm=True,
                    torch_compile=self.compiled, weight_decay=0.1,
                ),
                train_dataset=[{"input_ids": ids, "labels": ids} for ids in rows],  # type: ignore[arg-type]
                callbacks=[Clock()],
            ).train()  # fmt: skip
        return np.diff(begun).tolist()


def measure(shape: str, folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """Median tokens a second of each contestant, ratios to the loop's, and what the loop costs."""
    bench = Bench(SHAPES[shape], folder, args.compile, time.process_time if args.cpu_time else time.perf_counter)
    turns: dict[str, Turn] = {"loop": bench.ours, "bare": bench.bare, "trainer": bench.trainer}
    if args.nanogpt:
        turns["nanogpt"] = lambda steps: bench.nanogpt(args.nanogpt.expanduser(), steps)
    speeds: dict[str, list[float]] = {name: [] for name in turns}
    for _ in range(args.rounds):
        for name, turn in turns.items():
            speeds[name].append(bench.tokens / statistics.median(turn(args.steps)[1:]))
    medians = {name: statistics.median(found) for name, found in speeds.items()}
    return {
        **{f"{name}_tokens_per_second": round(found, 1) for name, found in medians.items()},
        **{f"loop_over_{name}": round(medians["loop"] / medians[name], 3) for name in medians if name != "loop"},
        "loop_overhead": round(statistics.median(bench.shares), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m bench.pretrain", description=str(__doc__).splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, help="a checkout of karpathy/nanoGPT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--compile", action="store_true", help="torch.compile for every contestant")
    parser.add_argument(
        "--cpu-time", action="store_true", help="CPU seconds in place of the clock's, on a machine with other work"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("pretrain.json"))
    args = parser.parse_args(argv)
    if args.nanogpt and not (args.nanogpt.expanduser() / "model.py").is_file():
        parser.error(f"--nanogpt {args.nanogpt}: there is no model.py in it")
    results = {}
    for shape in args.shapes:
        with tempfile.TemporaryDirectory() as folder:
            results[shape] = measure(shape, Path(folder), args)
        for name, value in results[shape].items():
            sys.stdout.write(f"{shape:<12} {name:<28} {value:>12,}\n")
    args.out.write_text(
        json.dumps({"compiled": args.compile, "cpu_time": args.cpu_time, **results}, indent=1) + "\n", encoding="utf-8"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
