"""How far a run is: on a terminal held in memory, and in lines elsewhere."""

from __future__ import annotations

import io
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from unittest.mock import patch

import pyte
import pytest
from rich.console import Console

from mscsa.training import display
from mscsa.training.display import STEP_LINE, BarDisplay, Display, open_display


class Terminal(io.StringIO):
    """Standard output that is a terminal of 80 columns, whose screen can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.screen = pyte.Screen(80, 24)
        self.stream = pyte.Stream(self.screen)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]


@contextmanager
def terminal() -> Iterator[Terminal]:
    """Standard output and what the command line logs to it; no fixture, whose output pytest takes back."""
    terminal = Terminal()
    handler = logging.StreamHandler(terminal)
    logging.getLogger().addHandler(handler)
    environment = {"COLUMNS": "80", "TERM": "xterm"}
    with redirect_stdout(terminal), patch.dict(os.environ, environment):
        yield terminal
    logging.getLogger().removeHandler(handler)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, which stands still unless a test moves it."""
    now = [100.0]
    monkeypatch.setattr(display.time, "monotonic", lambda: now[0])
    return now


def bar_on(terminal: Terminal) -> BarDisplay:
    return BarDisplay(Console(file=terminal, force_terminal=True, width=80))


def say(text: str, **options: object) -> None:
    logging.getLogger("mscsa").warning(text, **options)  # type: ignore[arg-type]


def test_a_bar_over_the_whole_run_with_lines_above_it(clock: list[float]) -> None:
    with terminal() as screen:
        bar = bar_on(screen)
        bar.start(10, 40)
        clock[0] += 10
        bar.advance(15, "epoch 1.50, loss 2.3026")
        say("epoch 1: top-1 3.12 %")
        say("a line of a step, for which the bar stands", extra=STEP_LINE)
        bar._progress.refresh()
        lines = screen.lines()
        assert lines[0] == "epoch 1: top-1 3.12 %"
        assert len(lines) == 2 and lines[1].startswith("training ")
        assert lines[1].endswith("15/40 epoch 1.50, loss 2.3026, 0:00:50 left")
        bar.close()
        say("after the end", extra=STEP_LINE)
        assert screen.lines()[-1] == "after the end"
        assert sys.stdout is screen


def test_an_evaluation_has_a_bar_of_its_own() -> None:
    with terminal() as screen:
        bar = bar_on(screen)
        bar.start(0, 40)
        with bar.evaluation(7) as advance:
            advance()
            advance()
            bar._progress.refresh()
            lines = screen.lines()
            assert len(lines) == 2 and lines[1].startswith("evaluation ") and lines[1].endswith("2/7")
        bar._progress.refresh()
        assert len(screen.lines()) == 1
        bar.close()
        bar.close()


def test_an_evaluation_before_the_first_step_has_a_bar_too() -> None:
    with terminal() as screen:
        bar = bar_on(screen)
        with bar.evaluation(3, "moving average") as advance:
            advance()
            bar._progress.refresh()
            (line,) = screen.lines()
            assert line.startswith("evaluation (moving average) ")
        bar.close()


def test_time_left_is_at_the_pace_of_this_session(clock: list[float]) -> None:
    lines = Display()
    lines.start(100, 200)
    assert lines.time_left == "-:--:--"
    clock[0] += 30
    lines.advance(110, "")
    assert lines.time_left == "0:04:30"
    clock[0] += 30  # an evaluation takes time of the run too
    assert lines.time_left == "0:09:00"


def test_elsewhere_a_long_evaluation_says_the_time_left(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), Display().evaluation(9) as advance:
        for _ in range(9):
            clock[0] += 10
            advance()
    assert [record.getMessage() for record in caplog.records] == [
        "evaluation: 4 of 9, 0:00:50 left",
        "evaluation: 8 of 9, 0:00:10 left",
    ]


def test_bars_are_for_terminals_and_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal():
        assert isinstance(open_display(), BarDisplay)
        monkeypatch.setenv("LOCAL_RANK", "1")
        assert not isinstance(open_display(), BarDisplay)
        monkeypatch.delenv("LOCAL_RANK")
    with redirect_stdout(io.StringIO()):
        assert not isinstance(open_display(), BarDisplay)
