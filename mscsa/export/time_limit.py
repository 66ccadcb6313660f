"""A limit on the CPU time of work that may take longer than anybody waits."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never


class OutOfTime(BaseException):
    """The limit was reached. No `Exception`: torch's tracers take these for answers, and go on."""


@contextmanager
def cpu_time_limit(seconds: float) -> Iterator[None]:
    """Stop what runs within after `seconds` of the process's CPU time, by raising `OutOfTime` in it.

    CPU time, so that a busy machine decides as an idle one does. There is no limit where signals cannot keep
    it: on Windows, and in any other thread than the first.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> Never:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    # Again after every second more, for code that lets nothing through.
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)
