"""Stopping on SIGTERM and SIGINT after the step in progress, with everything saved."""

from __future__ import annotations

import logging
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from mscsa.signals import name_of

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_GRACE = 30
"""Seconds that a loader worker lives on after SIGTERM."""


_SAME_S = 1.0
"""Seconds in which another signal is the same request by another way: systemd tells a service's processes
each, and what started a run tells it, too."""


class StopRequest:
    """Remembers the first of `SIGNALS` that arrived; a later one ends the process at once."""

    def __init__(self) -> None:
        self.signum = 0
        self._asked_at = -math.inf

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over for a while."""
        before = [signal.getsignal(signum) for signum in SIGNALS]
        self.install()
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                for signum, handler in zip(SIGNALS, before, strict=True):
                    signal.signal(signum, handler)

    def install(self) -> None:
        """Take the signals over; again where Lightning has put its own handlers in between."""
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                signal.signal(signum, self._handle)

    def _handle(self, signum: int, _: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._asked_at < _SAME_S:
            return
        if self.signum:
            os._exit(128 + signum)
        self.signum, self._asked_at = signum, now
        logger.warning("%s: saving after this step; once more to stop at once", name_of(signum))


def leave_signals_to_parent(worker_id: int) -> None:
    """Keep a loader worker alive while the training process saves: a `worker_init_fn`.

    Ctrl-C, systemd and Slurm signal the whole group. A worker that died of it would raise an error
    in the middle of the step that is to be finished. Workers end with their parent anyway.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE))
