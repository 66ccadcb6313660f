"""Signals: the first asks for a stop, the second ends the process, workers wait for their parent."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from mscsa.training.interrupt import (
    SIGNALS,
    StopRequest,
    leave_signals_to_parent,
)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Give back what handled the signals before."""
    before = {signum: signal.getsignal(signum) for signum in SIGNALS}
    yield
    signal.alarm(0)
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_first_signal_is_remembered_and_the_second_ends_at_once(
    signum: signal.Signals, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def leave(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", leave)
    stop = StopRequest()
    assert stop.signum == 0
    stop.install()
    signal.raise_signal(signum)
    assert stop.signum == signum
    assert f"{signum.name}: saving after this step; once more to stop at once" in caplog.text
    signal.raise_signal(signal.SIGTERM)  # at once: the same request, from whoever else passes it on
    time.sleep(1.1)
    with pytest.raises(SystemExit, match="143"):
        signal.raise_signal(signal.SIGTERM)


def test_signals_are_given_back_at_the_end() -> None:
    before = [signal.getsignal(signum) for signum in SIGNALS]
    stop = StopRequest()
    with pytest.raises(ZeroDivisionError), stop.listening():
        signal.raise_signal(signal.SIGTERM)
        assert stop.signum == signal.SIGTERM
        raise ZeroDivisionError
    assert [signal.getsignal(signum) for signum in SIGNALS] == before


def test_signals_are_left_alone_in_a_thread_where_they_cannot_be_taken() -> None:
    before = signal.getsignal(signal.SIGTERM)
    thread = threading.Thread(target=StopRequest().install)
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_worker_lives_on_for_a_while() -> None:
    leave_signals_to_parent(0)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.raise_signal(signal.SIGTERM)
    assert 20 <= signal.alarm(0) <= 30  # seconds until it ends by itself
