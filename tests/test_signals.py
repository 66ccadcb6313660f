"""How a signal ends a process."""

from __future__ import annotations

import signal
import threading

import pytest

from mscsa.signals import Interrupted, ended_by_sigterm, name_of


def test_signals_have_the_systems_names() -> None:
    assert name_of(15) == "SIGTERM"


def test_an_interrupted_process_ends_with_the_signals_code() -> None:
    error = Interrupted(signal.SIGTERM, "stopped at step 3")
    assert isinstance(error, SystemExit) and error.code == 143
    assert str(error) == "stopped at step 3"


def test_where_nothing_is_to_be_saved_sigterm_ends_with_a_word() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with (
        pytest.raises(Interrupted, match="stopped by SIGTERM; there was nothing new to save") as caught,
        ended_by_sigterm("there was nothing new to save"),
    ):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143 and signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_no_signal_is_taken_over() -> None:
    before, passed = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with ended_by_sigterm("there was nothing new to save"):
            passed.append(signal.getsignal(signal.SIGTERM) is before)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert passed == [True]
