"""How far runs are: a bar each on a terminal, lines elsewhere."""

from __future__ import annotations

import io
import logging
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
    with LineDisplay() as display:
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
    LineDisplay().update(run, "kept")
    assert caplog.messages == ["mscsa, seed 1: finished before"]


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
    assert isinstance(open_display(), kind)
