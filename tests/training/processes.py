"""Children that can be killed: forked from a server that has imported lightning once."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from typing import Any

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.training.small_runs"])


def start(
    target: Callable[..., None], *arguments: Any, env: dict[str, str] | None = None
) -> ForkServerProcess:
    """Start `target(*arguments)` in a process of its own."""
    process = CONTEXT.Process(target=_enter, args=(env or {}, target, arguments))
    process.start()
    return process


def finish(process: ForkServerProcess, timeout: float = 240.0) -> int:
    """Wait for a process and return its exit code, negative for a signal that killed it."""
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise TimeoutError(f"still running after {timeout} s")
    return process.exitcode


def run(target: Callable[..., None], *arguments: Any) -> int:
    """Run `target(*arguments)` in a process of its own and return its exit code."""
    return finish(start(target, *arguments))


def group_environment(rank: int, size: int, port: int) -> dict[str, str]:
    """What torchrun would set, so that Lightning joins the group instead of starting processes."""
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
        "WORLD_SIZE": str(size),
        "LOCAL_WORLD_SIZE": str(size),
    }


def free_port() -> int:
    """A TCP port of this machine that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _enter(env: dict[str, str], target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    # Loader workers as in a run by hand; they would be forkserver's too otherwise.
    multiprocessing.set_start_method("fork", force=True)
    os.environ.update(env)
    target(*arguments)
