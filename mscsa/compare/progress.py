"""How far the runs of a comparison are: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mscsa.compare.run import Run

logger = logging.getLogger(__name__)

_LINE_EVERY_S = 30.0


def open_display(num_runs: int) -> BarDisplay | LineDisplay:
    """Choose the display for where messages go, of so many runs that are not finished."""
    console = Console(stderr=True)
    return BarDisplay(console) if console.is_terminal else LineDisplay(num_runs)


class BarDisplay:
    """A bar per run, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=console,
        )
        self._tasks: dict[Run, TaskID] = {}

    def __enter__(self) -> BarDisplay:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, run: Run, state: str) -> None:
        """Move a run's bar; `state` is running, done, or kept (finished before)."""
        if run not in self._tasks:
            self._tasks[run] = self._progress.add_task(run.label, total=1.0, note="")
        curve = run.curve()
        note = f"{run.metric_label} {curve[-1][1]:5.2f} %" if curve else "starting"
        done = run.progress() if state == "running" else 1.0
        self._progress.update(self._tasks[run], completed=done, note=note)


class LineDisplay:
    """A line per start, evaluation and end, and the time left now and then, where there is no terminal."""

    def __init__(self, num_runs: int) -> None:
        """Take how many runs are not finished."""
        self._num_runs, self._num_done = num_runs, 0
        self._shown: dict[Run, int] = {}
        self._before: dict[Run, float] = {}  # shares of runs that go on from a checkpoint
        self._shares: dict[Run, float] = {}
        self._begun = self._said = time.monotonic()

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def update(self, run: Run, state: str) -> None:
        """Log what is new; `state` is running, done, or kept (finished before)."""
        if state == "kept":
            logger.info("%s: finished before", run.label)
            return
        curve = run.curve()
        self._shares[run] = run.progress() if state == "running" else 1.0
        if run not in self._shown:
            logger.info("%s: started", run.label)
            self._shown[run] = 0
            self._before[run] = self._shares[run] if state == "running" else 0.0
        for epoch, score in curve[self._shown[run] :]:
            logger.info("%s: epoch %g, %s %.2f %%", run.label, round(epoch, 2), run.metric_label, score)
        self._shown[run] = len(curve)
        self._num_done += state == "done"
        self._say_time_left()

    def _say_time_left(self) -> None:
        """Log how many runs are done, and the time left for all at the pace so far."""
        now, done = time.monotonic(), sum(self._shares.values())
        worked = done - sum(self._before.values())
        if now - self._said <= _LINE_EVERY_S or worked <= 0 or done >= self._num_runs:
            return
        self._said = now
        left = timedelta(seconds=round((now - self._begun) / worked * (self._num_runs - done)))
        logger.info("%d of %d runs done, %s left", self._num_done, self._num_runs, left)
