"""Full memory is known by what torch and Python say; nothing else is taken for it."""

from __future__ import annotations

import errno

import pytest
import torch

from mscsa.full_memory import KILLED, full_memory


def test_each_memory_is_named() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    assert full_memory(caught.value) == full_memory(MemoryError()) == "the memory of this machine is full"
    assert full_memory(torch.OutOfMemoryError("CUDA out of memory.")) == "the memory of the GPU is full"
    assert full_memory(RuntimeError("CUDA error: out of memory")) == "the memory of the GPU is full"
    assert (
        full_memory(OSError(errno.ENOMEM, "Cannot allocate memory")) == "the memory of this machine is full"
    )
    assert full_memory(RuntimeError("DataLoader worker (pid(s) 3, 4) exited unexpectedly")) == KILLED
    full = "unable to write to file </torch_7_8_9>: No space left on device (28)"
    assert full_memory(RuntimeError(full)) == KILLED


@pytest.mark.parametrize(
    "error", [RuntimeError("shapes differ"), OSError(28, "No space left"), KeyError("x")]
)
def test_other_errors_are_not_of_memory(error: Exception) -> None:
    assert full_memory(error) is None
