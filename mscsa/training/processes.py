"""The processes of a run: how many there are, and that none outlives another or repeats what it says."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist

from mscsa.errors import UserError
from mscsa.recipes.spec import Recipe

logger = logging.getLogger(__name__)

_WATCH = "watch-processes"
_POLL_S = 0.1  # faster than Lightning's watch of 5 s, which kills without a word
_GRACE_S = 1.0
"""How long a process that lost another may take to end by itself, with what it has to say."""


class ProcessLost(RuntimeError):
    """Another process of the run ended, so that this one cannot go on; that one says why, if it could."""


class OneProcessError(UserError):
    """Bad input that one of several processes found while they trained: the others may know nothing of it."""


def with_processes(recipe: Recipe) -> Recipe:
    """Take the number of processes from torchrun where the recipe says one.

    Raises:
        UserError: If the recipe says another number than torchrun started.
    """
    world, here = (int(os.environ.get(name, 1)) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE"))
    run = recipe.run
    if "TORCHELASTIC_RUN_ID" not in os.environ or run.devices * run.num_nodes == world:
        return recipe
    if run.devices * run.num_nodes > 1:
        raise UserError(
            f"run.devices {run.devices} x run.num_nodes {run.num_nodes} is not the number of processes that "
            f"torchrun started, {world}: leave both out, torchrun says them"
        )
    return replace(recipe, run=replace(run, devices=here, num_nodes=world // here))


def local_rank() -> int:
    """Say which process of this machine this is; 0 before others are started."""
    return int(os.environ.get("LOCAL_RANK", 0))


def rank() -> int:
    """Say which process of the run this is; 0 before others are started."""
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", 0)))


@contextmanager
def first_alone_speaks() -> Iterator[None]:
    """Let the other processes keep to themselves what the first one says too; errors pass."""
    ours = logging.getLogger("mscsa")
    level = ours.level
    if rank() > 0:
        ours.setLevel(logging.ERROR)
    try:
        yield
    finally:
        ours.setLevel(level)


def is_of_lost_process(error: BaseException) -> bool:
    """Say whether an error only means that another process of the group is gone."""
    if not (dist.is_available() and dist.is_initialized() and isinstance(error, RuntimeError)):
        return False
    return isinstance(error, dist.DistError) or any(word in str(error) for word in _OF_GROUPS)


_OF_GROUPS = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
"""What messages of torch's process groups say."""


def watch(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """End this process soon after one that it cannot go on without: a child that failed, or its parent.

    Nobody else watches the first process: on a GPU the others would wait for it for half an hour.

    Args:
        children: The processes that this one started; none for one that was started.
    """
    target = _watch_children if children else _watch_parent
    thread = threading.Thread(target=target, args=(children or os.getppid(),), name=_WATCH, daemon=True)
    thread.start()


def await_end() -> None:
    """Give the watch time to end this process, where there is one: it knows what happened to the others."""
    if any(thread.name == _WATCH for thread in threading.enumerate()):
        logging.getLogger("lightning.fabric").setLevel(logging.ERROR)  # its own watch says it too, twice
        time.sleep(5 * _GRACE_S)


class WatchProcesses(pl.Callback):
    """Watch the processes that Lightning started, from when they are there; torchrun watches its own."""

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Begin to watch."""
        launcher: Any = trainer.strategy.launcher
        if trainer.world_size > 1 and launcher is not None and "TORCHELASTIC_RUN_ID" not in os.environ:
            watch(launcher.procs)


def lost_child(codes: Mapping[int, int | None]) -> str | None:
    """Say which child was killed; None where none was, or those that failed say why themselves.

    Args:
        codes: Exit code of each process by its rank, None while it runs.
    """
    killed = {rank: -code for rank, code in codes.items() if code is not None and code < 0}
    for rank, signum in killed.items():
        return f"process {rank} of {len(codes) + 1} was killed by {signal.Signals(signum).name}"
    return None


def _watch_children(children: Sequence[subprocess.Popen[bytes]]) -> None:
    while not any(child.poll() for child in children):
        time.sleep(_POLL_S)
    codes = {rank: child.returncode for rank, child in enumerate(children, start=1)}
    if message := lost_child(codes):
        logger.error("error: %s; all end; go on with --resume", message)
    time.sleep(_GRACE_S)
    for child in children:
        child.kill()
    failed = next(code for code in codes.values() if code)
    os._exit(failed if failed > 0 else 128 - failed)


def _watch_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_POLL_S)
    time.sleep(_GRACE_S)
    if rank() == 1:
        logger.error("error: the first process is gone; all end; go on with --resume")
    os._exit(1)
