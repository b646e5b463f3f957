"""What a piece of code allocates in tensors on a processor, where torch keeps no such count.

A GPU's allocator knows its own peak; a processor's resident set holds the interpreter, libraries and freed blocks too.
So every operation's results are watched: bytes of their storages, from when they appear to when Python and autograd
have let go of them.
"""

import weakref
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class TensorBytes(TorchDispatchMode):
    """Context manager; `peak` is the most bytes that new tensors held at once inside it. What existed before is not
    counted, nor what an operation allocates and frees within itself."""

    def __init__(self, existing: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen = {tensor.untyped_storage().data_ptr() for tensor in existing}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self._watch(leaf.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        address, size = storage.data_ptr(), storage.nbytes()
        if address in self._seen or not size:
            return
        self._seen.add(address)
        self.live += size
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._freed, address, size)

    def _freed(self, address: int, size: int) -> None:
        self._seen.discard(address)
        self.live -= size


def peak_bytes(step: Callable[[], Any], held: Sequence[torch.Tensor], device: torch.device) -> int:
    """The most bytes of tensors on the device while `step` runs. held: those that exist already, weights and state of
    the optimisers; on a GPU the allocator knows of them."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        step()
        return torch.cuda.max_memory_allocated(device)
    storages = {storage.data_ptr(): storage.nbytes() for storage in (tensor.untyped_storage() for tensor in held)}
    with TensorBytes(held) as tracked:
        step()
    return sum(storages.values()) + tracked.peak
