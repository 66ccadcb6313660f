"""Signals that end a process: how they are named, and that they end it in order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


def name_of(signum: int) -> str:
    """Name a signal: SIGTERM."""
    return signal.Signals(signum).name


class Interrupted(SystemExit):
    """Stopped by a signal, with everything saved; the exit code is 128 + the signal's number."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(128 + signum)
        self.message = message

    def __str__(self) -> str:
        return self.message


@contextmanager
def ended_by_sigterm(word: str) -> Iterator[None]:
    """Let SIGTERM end what has no way of its own to end by `Interrupted`, as Ctrl-C does by itself.

    Args:
        word: What is said after the signal's name.
    """

    def end(signum: int, _: FrameType | None) -> None:
        raise Interrupted(signum, f"stopped by {name_of(signum)}; {word}")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
