"""How far runs are: a bar each on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from mscsa.compare import progress
from mscsa.compare.progress import BarDisplay, LineDisplay, open_display
from mscsa.compare.run import Run
from tests.compare.made import run_in


@pytest.fixture
def run(tmp_path: Path) -> Run:
    run = run_in(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.csv").write_text("step,epoch,val_top1\n5,1.0,40.5\n10,2.0,44\n")
    return run


def test_lines_say_each_evaluation_once(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with LineDisplay(1) as display:
        display.update(run, "running")
        display.update(run, "running")
        display.update(run, "done")
    assert [record.getMessage() for record in caplog.records] == [
        "mscsa, seed 1: started",
        "mscsa, seed 1: epoch 1, top-1 40.50 %",
        "mscsa, seed 1: epoch 2, top-1 44.00 %",
    ]


def test_a_kept_run_is_one_line(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    LineDisplay(1).update(run, "kept")
    assert caplog.messages == ["mscsa, seed 1: finished before"]


def test_lines_say_the_time_left_for_all_runs(
    run: Run, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    fresh = replace(run, seed=2, folder=run.folder.parent / "seed2")
    fresh.folder.mkdir()
    display = LineDisplay(3)
    display.update(run, "running")  # goes on from its half
    display.update(fresh, "running")
    now[0] += 40  # in which nothing was done: no pace, no line
    display.update(fresh, "running")
    (fresh.folder / "metrics.csv").write_text("step,epoch,val_top1\n1,1.0,\n")
    display.update(fresh, "running")  # a quarter in 40 s
    display.update(run, "done")  # too soon for another line
    now[0] += 40
    display.update(fresh, "running")  # three quarters of a run in 80 s, and one and three quarters are left
    said = [message for message in caplog.messages if message.endswith("left")]
    assert said == ["0 of 3 runs done, 0:06:00 left", "1 of 3 runs done, 0:03:07 left"]


def test_a_bar_shows_the_share_and_the_last_score(run: Run) -> None:
    screen = io.StringIO()
    with BarDisplay(Console(file=screen, force_terminal=True, width=120)) as display:
        display.update(run, "running")
    assert "mscsa, seed 1" in screen.getvalue()
    assert "50 %" in screen.getvalue() and "top-1 44.00 %" in screen.getvalue()


@pytest.mark.parametrize(("is_terminal", "kind"), [(True, BarDisplay), (False, LineDisplay)])
def test_the_display_fits_where_messages_go(
    monkeypatch: pytest.MonkeyPatch, is_terminal: bool, kind: type
) -> None:
    monkeypatch.setattr(progress, "Console", lambda **_: Console(force_terminal=is_terminal))
    assert isinstance(open_display(1), kind)
