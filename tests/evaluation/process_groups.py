"""Groups of processes on this machine, which share their work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def run_group(
    target: Callable[..., None], size: int, folder: Path, *arguments: Any, start_method: str = "fork"
) -> None:
    """Run `target(rank, size, folder, *arguments)` in a group of `size` processes and wait for all.

    Args:
        start_method: "forkserver" for a target with a backward pass: autograd has threads, which a fork
            loses.
    """
    store = folder / f"store{size}"
    mp.start_processes(
        _enter, (target, size, folder, store, arguments), nprocs=size, start_method=start_method
    )


def _enter(
    rank: int, target: Callable[..., None], size: int, folder: Path, store: Path, arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)
    target(rank, size, folder, *arguments)
    dist.destroy_process_group()
