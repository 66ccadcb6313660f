"""How a run calculates: the rounding of matrix products, the same bits each time, and compiled programs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress

import torch
from torch import Tensor

from mscsa.errors import UserError
from mscsa.evaluation.running import matmul_precision
from mscsa.recipes.spec import RunSpec

_WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
"""What cuBLAS reads, once, before its first product; without it some products differ from run to run."""

_NOT_DETERMINISTIC = re.compile(r"(\S+) does not have a deterministic implementation")
_LONGEST = 200
"""Characters that a message quotes of torch's."""


@contextmanager
def arithmetic(run: RunSpec) -> Iterator[None]:
    """Calculate as a run asks for it; at the end all is as it was.

    Raises:
        UserError: If the run is to be deterministic and meets an operation that is not (names it), or to be
            compiled and torch cannot.
    """
    try:
        with matmul_precision(run.matmul_precision), _deterministic() if run.deterministic else nullcontext():
            yield
    except Exception as error:
        operation = _NOT_DETERMINISTIC.match(str(error))
        if run.deterministic and operation is not None:
            raise UserError(
                f"run.deterministic: torch has no deterministic form of {operation[1]} on this device; "
                "leave run.deterministic out, or train on a CPU"
            ) from error
        if run.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            reason = " ".join(str(error).split())[:_LONGEST]
            raise UserError(
                f"run.compile: torch cannot compile this model here ({reason}); leave run.compile out"
            ) from error
        raise


def at_least_float32(logits: Tensor) -> Tensor:
    """Take logits out of half precision: a loss of them would have three digits under autocast on the CPU."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32))


@contextmanager
def _deterministic() -> Iterator[None]:
    cudnn = torch.backends.cudnn
    before = (torch.get_deterministic_debug_mode(), cudnn.benchmark, os.environ.get(_WORKSPACE))
    os.environ.setdefault(_WORKSPACE, ":4096:8")
    torch.use_deterministic_algorithms(True)
    cudnn.benchmark = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        cudnn.benchmark = before[1]
        if before[2] is None:
            with suppress(KeyError):
                del os.environ[_WORKSPACE]
