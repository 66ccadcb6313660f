"""How far long work is: bars for terminals, lines elsewhere, nothing where nobody asked to be told."""

from __future__ import annotations

import io
import logging
import sys

import pytest
from rich import console

from mscsa import progress as module
from mscsa.progress import progress, tracked


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_library_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(tracked("abc", "letters", 3)) == ["a", "b", "c"]
    assert capsys.readouterr() == ("", "")


def test_lines_say_the_time_left(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mscsa"), progress("images", 9) as advance:
        for _ in range(9):
            clock[0] += 4
            advance()
    assert [record.getMessage() for record in caplog.records] == [
        "images: 3 of 9, 0:00:24 left",
        "images: 6 of 9, 0:00:12 left",
    ]


def test_a_bar_on_a_terminal(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    make = console.Console
    monkeypatch.setattr(console, "Console", lambda stderr: make(file=screen, force_terminal=True, width=90))
    with caplog.at_level(logging.INFO, "mscsa"):
        seen = []
        for item in tracked(range(4), "images", 4):
            clock[0] += 2
            seen.append(item)
    assert seen == [0, 1, 2, 3] and not caplog.records
    text = screen.getvalue()
    assert "images" in text and "2/4" in text and "left" in text


def test_only_the_first_process_speaks(
    clock: list[float], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with caplog.at_level(logging.INFO, "mscsa"), progress("images", 9) as advance:
        clock[0] += 100
        advance()
    assert not caplog.records


def test_an_error_in_the_work_passes(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ZeroDivisionError), caplog.at_level(logging.INFO, "mscsa"):
        for item in tracked([1, 0], "numbers", 2):
            _ = 1 / item
