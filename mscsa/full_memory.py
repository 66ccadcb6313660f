"""Errors that say that memory is full, which come in several types and words."""

from __future__ import annotations

import errno
import re

import torch

_LOST_WORKER = re.compile(
    r"DataLoader worker \(pid.*\) (exited unexpectedly|is killed by signal)"
    r"|unable to write to file </torch_.*No space left on device"
)
_OF_GPU = re.compile(r"CUDA error: out of memory")
_OF_CPU = re.compile(r"DefaultCPUAllocator: can't allocate memory|Cannot allocate memory \(12\)")
KILLED = "a process that reads images was killed, as the system does where memory or /dev/shm is full"


def full_memory(error: BaseException) -> str | None:
    """Say which memory is full by an error of torch or Python; `KILLED` where that is guessed; else None."""
    if isinstance(error, OSError):
        return "the memory of this machine is full" if error.errno == errno.ENOMEM else None
    if isinstance(error, torch.OutOfMemoryError) or _OF_GPU.search(str(error)):
        return "the memory of the GPU is full"
    if isinstance(error, MemoryError) or _OF_CPU.search(str(error)):
        return "the memory of this machine is full"
    if isinstance(error, RuntimeError) and _LOST_WORKER.search(str(error)):
        return KILLED
    return None
