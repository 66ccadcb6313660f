"""Gradient checkpointing of modules with batch norms: memory for time, and the same training run."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def checkpoint_module(module: nn.Module, *args: Any) -> Any:
    """Call `module(*args)`, recomputing its activations in the backward pass instead of keeping them.

    Outputs, gradients, running statistics and random draws are those of a plain call. In evaluation
    mode too, as fine-tuning on frozen statistics has gradients; without gradients nothing is kept that
    could be recomputed, and the call is plain. So it is in exported and traced graphs, which end at
    the outputs. Several backward passes over one call (`retain_graph=True`) recompute several times.

    Args:
        module: Module to call; its hooks fire in the recomputation as well.
        *args: Its positional arguments.
    Returns:
        What the module returns.
    """
    if not torch.is_grad_enabled() or torch.compiler.is_exporting() or torch.jit.is_tracing():
        return module(*args)
    if torch.compiler.is_compiling():
        # A compiled graph updates buffers once, at its end, and torch cannot compile `context_fn`.
        return checkpoint(module, *args, use_reentrant=False)

    def contexts() -> tuple[AbstractContextManager[None], HeldStatistics]:
        return nullcontext(), HeldStatistics(module)

    return checkpoint(module, *args, use_reentrant=False, context_fn=contexts)


class HeldStatistics:
    """Keep the running statistics of a module's norms as they are while the context is entered.

    The norms still update, by a share of 0: without their buffers they would save other tensors than
    in the first pass, which `checkpoint` refuses. They count on a copy, as SyncBatchNorm insists on a
    counter. May be entered any number of times, also within itself: torch keeps one context for all
    backward passes.
    """

    def __init__(self, module: nn.Module) -> None:
        """Hold the statistics of all norms inside `module`."""
        self._module = module
        self._entered: list[list[_Saved]] = []

    def __enter__(self) -> None:
        saved = [
            _Saved(norm, norm.momentum, norm.num_batches_tracked)
            for norm in self._module.modules()
            if isinstance(norm, _NormBase) and norm.training
        ]
        self._entered.append(saved)
        for norm, _, batches in saved:
            norm.momentum, norm.num_batches_tracked = 0.0, None if batches is None else batches.clone()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for norm, momentum, batches in self._entered.pop():
            norm.momentum, norm.num_batches_tracked = momentum, batches


class _Saved(NamedTuple):
    """What a norm held before the context was entered."""

    norm: _NormBase
    momentum: float | None
    batches: Tensor | None
