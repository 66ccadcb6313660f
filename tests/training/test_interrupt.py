"""Signals: the first asks for a stop, the second ends the process, workers wait for their parent."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mscsa.training.interrupt import (
    SIGNALS,
    Interrupted,
    StopRequest,
    ended_by_sigterm,
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


def test_an_interrupted_process_ends_with_the_signals_code() -> None:
    error = Interrupted(signal.SIGTERM, "stopped at step 3")
    assert isinstance(error, SystemExit) and error.code == 143
    assert str(error) == "stopped at step 3"


def test_a_worker_lives_on_for_a_while() -> None:
    leave_signals_to_parent(0)
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    signal.raise_signal(signal.SIGTERM)
    assert 20 <= signal.alarm(0) <= 30  # seconds until it ends by itself


def test_where_nothing_is_to_be_saved_sigterm_ends_with_a_word() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Interrupted, match="stopped by SIGTERM; there was nothing new to save") as caught,
        ended_by_sigterm(),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_no_signal_is_taken_over() -> None:
    before, passed = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with ended_by_sigterm():
            passed.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]
