"""How a trained model is run: where, in which arithmetic, over a data set, by how many processes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from mscsa.errors import UserError
from mscsa.modes import evaluating

B = TypeVar("B")


def pass_over(
    model: nn.Module,
    loader: Iterable[B],
    take: Callable[[B], None],
    stop: Callable[[], bool] | None = None,
) -> bool:
    """Put a model in eval mode and take each batch; the modules' training modes are as before afterwards.

    Args:
        take: What is done with a batch.
        stop: Asked after each batch; if it answers True, no further one is read.
    Returns:
        Whether it was stopped, in this process.
    """
    with evaluating(model):
        for batch in loader:
            take(batch)
            if stop is not None and stop():
                return True
        return False


def autocast(precision: str, device: torch.device) -> AbstractContextManager[object]:
    """Give the context in which a forward pass runs at Lightning's `precision`."""
    if not precision.endswith("-mixed"):
        return nullcontext()
    # fp16 has no CPU kernels worth the name; Lightning takes bf16 there too.
    use_half = precision == "16-mixed" and device.type != "cpu"
    return torch.autocast(device.type, dtype=torch.float16 if use_half else torch.bfloat16)


@contextmanager
def matmul_precision(name: str | None) -> Iterator[None]:
    """Let torch round in float32 matrix products as `name` says for a while; None leaves it as it is."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name or before)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def choose_device(accelerator: str) -> torch.device:
    """Turn `auto`, `cpu` or `gpu` into a device.

    Raises:
        UserError: If a GPU is asked for and there is none, or the word is another.
    """
    if accelerator not in ("auto", "cpu", "gpu"):
        raise UserError(f"accelerator {accelerator!r} is not known; give auto, cpu or gpu")
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("accelerator gpu was asked for, but torch sees none; give cpu or auto")
    return torch.device("cuda" if accelerator != "cpu" and torch.cuda.is_available() else "cpu")


def process_rank() -> tuple[int, int]:
    """Say which process of how many this is; (0, 1) where there is no group."""
    return (dist.get_rank(), dist.get_world_size()) if in_group() else (0, 1)


def in_group() -> bool:
    """Say whether this process belongs to a group that shares the work."""
    return dist.is_available() and dist.is_initialized()
