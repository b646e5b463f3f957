"""Who carries the processes: one alone, DDP, FSDP2, or DeepSpeed's ZeRO; pretraining and PPO say the same to all.

Which one it is stands in the accelerate config, and nothing else does: batch, clipping and precision are the recipe's.
Checkpoints hold whole tensors by parameter name whatever the engine, so that a run goes on under another one.
"""

import contextlib
import os
from collections.abc import Sequence
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType, InitProcessGroupKwargs

from pipeline.stage import UserError
from pipeline.training_state import Tensors, gather, restore


def start(precision: str) -> Accelerator:
    """The accelerator that the launcher's configuration asks for.

    precision "auto": bfloat16 on GPUs that have it; float32 on processors, most of which emulate bfloat16 at a 25th of
    the speed. Raises UserError for bfloat16 where the GPU lacks it, RuntimeError where processes were launched or an
    engine was asked for and accelerate does not see them: it would train unsharded, or every process for itself.
    """
    gpu = torch.cuda.is_available()
    sharded = asked("DEEPSPEED")
    bf16 = gpu and torch.cuda.is_bf16_supported(including_emulation=False)
    if precision == "bfloat16" and gpu and not bf16:
        raise UserError("pretrain.yaml: precision = bfloat16: this GPU has none. Say float32, or leave it out.")
    low = precision == "bfloat16" or (precision == "auto" and bf16)
    accelerator = Accelerator(
        cpu=not gpu and not sharded,  # DeepSpeed on processors is told so by DS_ACCELERATOR
        mixed_precision="bf16" if low else "no",
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if sharded and not gpu else [],
    )
    launched = int(os.environ.get("WORLD_SIZE", "1"))
    if accelerator.num_processes != launched:
        raise RuntimeError(f"{launched} processes were launched, accelerate sees {accelerator.num_processes}")
    for engine in (DistributedType.DEEPSPEED, DistributedType.FSDP):
        if asked(engine.value) != (accelerator.distributed_type == engine):
            raise RuntimeError(f"the accelerate config and {accelerator.distributed_type} disagree about {engine}")
    build_whole(accelerator)
    return accelerator


def build_whole(accelerator: Accelerator) -> None:
    """Lets transformers build whole models under ZeRO-3 too: while accelerate holds a config for it to see, it gives
    every process a share of each new model, where weights can be neither drawn from a seed nor read from a file."""
    if accelerator.distributed_type == DistributedType.DEEPSPEED:
        accelerator.state.deepspeed_plugin.dschf = None


def asked(engine: str) -> bool:
    """Whether the launcher asked for DEEPSPEED or FSDP, in accelerate's own words."""
    return os.environ.get(f"ACCELERATE_USE_{engine}", "false").lower() == "true"


class Engine:
    """accelerate as it is: gradients lie on the parameters of `model`, optimisers update them.

    model: what the loop calls. bare: the same without accelerate's wrapping, for scoring. micro_rows: rows of one
    forward pass in this process. max_grad_norm: what `clip` will be told, which DeepSpeed wants to know beforehand.
    """

    samples = True  # whether one process alone can run the model
    in_shares = False  # whether `bare` holds less than the trained weights in float32

    def __init__(
        self,
        accelerator: Accelerator,
        model: torch.nn.Module,
        optimizers: Sequence[torch.optim.Optimizer],
        micro_rows: int,
        max_grad_norm: float,
    ) -> None:
        self.accelerator, self.micro_rows, self.max_grad_norm = accelerator, micro_rows, max_grad_norm
        if accelerator.distributed_type == DistributedType.FSDP:
            self.samples, self.in_shares = False, True
        self.model, *self.optimizers = self.prepare(model, optimizers)
        self.bare: Any = accelerator.unwrap_model(self.model)

    def prepare(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Any:
        """Model and optimisers as accelerate wraps them."""
        return self.accelerator.prepare(model, *optimizers)

    @property
    def trained(self) -> dict[str, torch.nn.Parameter]:
        """The parameters that change, by name."""
        return trained(self.bare)

    def accumulation(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """The context of one micro-batch: gradients add up, and are exchanged once, with the last part."""
        return contextlib.nullcontext() if last else self.accelerator.no_sync(self.model)

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds the loss's gradient."""
        self.accelerator.backward(loss)

    def clip(self, max_norm: float) -> float:
        """Scales the gradient down to that norm; returns the norm that it had."""
        return float(self.accelerator.clip_grad_norm_(self.model.parameters(), max_norm))

    def step(self) -> None:
        """The update."""
        for optimizer in self.optimizers:
            optimizer.step()
        self.discard()

    def discard(self) -> None:
        """Forgets the gradient."""
        self.model.zero_grad()

    def gather(self) -> tuple[Tensors, Tensors]:
        """Trained weights, and what the optimisers keep of each; every process must ask."""
        return gather(self.trained, self.optimizers)

    def restore(self, moments: Tensors) -> None:
        """Gives the optimisers back what they kept. The weights were put into the model before it was wrapped."""
        restore(self.trained, self.optimizers, moments)

    def held(self) -> contextlib.AbstractContextManager[Any]:
        """While inside, each process holds every weight and can run the model alone, for as long as it likes."""
        return contextlib.nullcontext()


class ZeRO(Engine):
    """DeepSpeed's ZeRO: it keeps gradients and optimiser itself, each process a share; at stage 3 weights too."""

    in_shares = True

    def prepare(self, model: torch.nn.Module, optimizers: Sequence[torch.optim.Optimizer]) -> Any:
        """The engine. What DeepSpeed wants to know of the batch is said here: it is the recipe's."""
        plugin = self.accelerator.state.deepspeed_plugin
        plugin.deepspeed_config |= {
            "train_micro_batch_size_per_gpu": self.micro_rows,
            "gradient_accumulation_steps": 1,  # the loop scales its losses itself and says which part is the last
            "gradient_clipping": self.max_grad_norm,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # offloaded, torch's own AdamW updates on the processor
        }
        self.stage = plugin.zero_stage
        self.samples = self.stage < 3
        prepared = self.accelerator.prepare(model, *optimizers)
        build_whole(self.accelerator)
        return prepared

    def accumulation(self, last: bool) -> contextlib.AbstractContextManager[Any]:
        """DeepSpeed is told with the backward pass."""
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor, last: bool) -> None:
        """Adds the gradient, and with the last part exchanges it. accelerate would make the update here too."""
        self.model.set_gradient_accumulation_boundary(is_boundary=last)
        self.model.backward(loss)

    def clip(self, max_norm: float) -> float:
        """The gradient's norm; it is scaled down with the update."""
        from deepspeed.runtime.utils import combine_grad_norm_groups

        sharded = self.model.optimizer
        return float(
            combine_grad_norm_groups(sharded._get_norm_groups()) if self.stage == 3 else sharded.scaled_global_norm()
        )

    def step(self) -> None:
        """The update."""
        self.model.step()

    def discard(self) -> None:
        """Forgets the gradient: DeepSpeed leaves out a step whose gradient is no number, so it is made none."""
        from deepspeed.utils import safe_set_full_grad, safe_set_local_grad

        parameter = next(iter(self.trained.values()))
        nothing = torch.full(_shape(parameter), float("nan"), device=self.accelerator.device)
        if self.stage == 3:
            safe_set_local_grad(parameter, self._own(parameter, nothing))
        else:
            safe_set_full_grad(parameter, nothing)
        self.model.step()

    def gather(self) -> tuple[Tensors, Tensors]:
        """Whole float32 weights and moments, put together from every process's share."""
        from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

        self._link()
        kept: dict[str, torch.Tensor] = next(iter(self._inner().state.values()), {})
        weights: Tensors = {}
        moments: Tensors = {}
        for name, parameter in self.trained.items():
            shape = _shape(parameter)
            weights[name] = safe_get_full_fp32_param(parameter).reshape(shape).cpu().clone()
            for key, value in kept.items():
                moments[f"{name}/{key}"] = (
                    safe_get_full_optimizer_state(parameter, key).reshape(shape).cpu().clone()
                    if value.ndim
                    else value.cpu().clone()  # AdamW's count of steps
                )
        return weights, moments

    def restore(self, moments: Tensors) -> None:
        """Each process takes its share of what was gathered."""
        from deepspeed.utils import safe_set_full_optimizer_state, safe_set_local_optimizer_state

        inner = self._inner()
        kept = {name.rpartition("/")[2]: value for name, value in moments.items()}
        sharded = self.model.optimizer
        for flat in (
            sharded.fp32_partitioned_groups_flat if self.stage == 3 else sharded.single_partition_of_fp32_groups
        ):
            for key, value in kept.items():
                inner.state[flat][key] = torch.zeros_like(flat) if value.ndim else value.clone()
        self._link()
        for name, parameter in self.trained.items():
            for key in (key for key, value in kept.items() if value.ndim):
                value = moments[f"{name}/{key}"].to(self.accelerator.device)
                if self.stage == 3:
                    safe_set_local_optimizer_state(parameter, self._own(parameter, value), key)
                else:
                    safe_set_full_optimizer_state(parameter, value, key)

    @contextlib.contextmanager
    def held(self) -> Any:
        """ZeRO-3 shares weights out; fetching them once is cheaper than once a token."""
        if self.stage < 3:
            yield
            return
        import deepspeed
        from trl.models.utils import add_hooks, remove_hooks  # takes seconds to import

        with deepspeed.zero.GatheredParameters(list(self.bare.parameters())):
            remove_hooks(self.model)  # else each layer would give its weights up again when it was used
            try:
                yield
            finally:
                add_hooks(self.model)

    def _own(self, parameter: torch.nn.Parameter, whole: torch.Tensor) -> torch.Tensor:
        """This process's share of a whole tensor under ZeRO-3: the last ones are filled up, which DeepSpeed's own
        cutting forgets where a size is no multiple of the number of processes."""
        size = parameter.ds_tensor.numel()
        first = self.accelerator.process_index * size
        flat = whole.flatten()
        return torch.nn.functional.pad(flat, (0, max(0, first + size - flat.numel())))[first : first + size]

    def _link(self) -> None:
        """Lets DeepSpeed find each parameter's moments. Its own linking comes after the first group's first update,
        when the other groups have none yet."""
        if self.stage < 3:
            self.model.optimizer._hp_optimizer_states_linked = False
            self.model.optimizer._lazy_init_hp_params_optimizer_state()

    def _inner(self) -> torch.optim.Optimizer:
        """torch's optimiser inside DeepSpeed's, over flat shares of the parameters."""
        return self.model.optimizer.optimizer


def build_engine(
    accelerator: Accelerator,
    model: torch.nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    micro_rows: int,
    max_grad_norm: float,
) -> Engine:
    """The engine that the accelerate config names."""
    kind = ZeRO if accelerator.distributed_type == DistributedType.DEEPSPEED else Engine
    return kind(accelerator, model, optimizers, micro_rows, max_grad_norm)


def trained(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The parameters that change, by name: all of them, or with an adapter its own."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _shape(parameter: torch.nn.Parameter) -> torch.Size:
    """A parameter's own shape: under ZeRO-3 it is empty outside of a forward pass."""
    return getattr(parameter, "ds_shape", parameter.shape)
