"""How far the runs of a comparison are: bars on a terminal, lines elsewhere."""

from __future__ import annotations

import logging

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mscsa.compare.run import Run

logger = logging.getLogger(__name__)


def open_display() -> BarDisplay | LineDisplay:
    """Choose the display for where messages go."""
    console = Console(stderr=True)
    return BarDisplay(console) if console.is_terminal else LineDisplay()


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
    """A line per start, evaluation and end, where the output is no terminal."""

    def __init__(self) -> None:
        self._shown: dict[Run, int] = {}

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
        if run not in self._shown:
            logger.info("%s: started", run.label)
            self._shown[run] = 0
        for epoch, score in curve[self._shown[run] :]:
            logger.info("%s: epoch %g, %s %.2f %%", run.label, round(epoch, 2), run.metric_label, score)
        self._shown[run] = len(curve)
