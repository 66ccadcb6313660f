"""Work that never ends is stopped by its CPU time, whatever it catches."""

from __future__ import annotations

import signal
import threading
from contextlib import suppress
from typing import Any

import pytest

from mscsa.export.time_limit import OutOfTime, cpu_time_limit


def never_ending() -> None:
    while True:
        with suppress(Exception):
            sum(range(1000))


def test_what_never_ends_is_stopped() -> None:
    with pytest.raises(OutOfTime), cpu_time_limit(0.05):
        never_ending()


def test_what_lets_one_stop_pass_is_stopped_again() -> None:
    with pytest.raises(OutOfTime), cpu_time_limit(0.05):
        with suppress(OutOfTime):
            never_ending()
        never_ending()


@pytest.mark.parametrize("ends", [True, False])
def test_afterwards_all_is_as_before(ends: bool) -> None:
    def theirs(*_: Any) -> None:
        """Somebody's own handler, a profiler's."""

    before = signal.signal(signal.SIGPROF, theirs)
    try:
        with suppress(OutOfTime), cpu_time_limit(0.05):
            if not ends:
                never_ending()
        assert signal.getsignal(signal.SIGPROF) is theirs
        assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    finally:
        signal.signal(signal.SIGPROF, before)


def test_in_another_thread_there_is_no_limit() -> None:
    done = []

    def work() -> None:
        with cpu_time_limit(0.01):
            done.append(sum(i * i for i in range(1_000_000)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done
