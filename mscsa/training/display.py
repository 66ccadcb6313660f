"""How far a run is: a bar over all of it and one for each evaluation on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from mscsa.progress import lines
from mscsa.training.processes import rank

logger = logging.getLogger(__name__)

STEP_LINE = {"of_a_step": True}
"""What marks the log lines of steps, which a bar stands for."""

_LINE_EVERY_S = 30.0


class Display:
    """Writes a line about a long evaluation from time to time, and knows the time left.

    The lines of steps and evaluations are logged by those who know them.
    """

    def __init__(self) -> None:
        self._first = (0, time.monotonic())
        self._step = 0
        self._total = 0

    @property
    def time_left(self) -> str:
        """Time that the run still takes at its pace so far, evaluations included, as H:MM:SS."""
        first, since = self._first
        if self._step == first:
            return "-:--:--"
        pace = (time.monotonic() - since) / (self._step - first)
        return str(timedelta(seconds=round(pace * (self._total - self._step))))

    def start(self, step: int, total: int) -> None:
        """Begin, or go on, at a step of so many."""
        self._first = (step, time.monotonic())
        self._step, self._total = step, total

    def advance(self, step: int, note: str) -> None:
        """Move on to a step."""
        self._step = step

    @contextmanager
    def evaluation(self, num_batches: int, label: str = "") -> Iterator[Callable[[], None]]:
        """Show an evaluation of so many batches; what it gives is called after each.

        Args:
            num_batches: How many there are.
            label: Of which weights, where there are two.
        """
        with lines(_named("evaluation", label), num_batches, _LINE_EVERY_S) as advance:
            yield advance

    def close(self) -> None:
        """Leave the terminal as it was."""


class BarDisplay(Display):
    """Draws bars below the lines that are logged meanwhile."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._task: TaskID | None = None
        self._is_open = False
        self._streams: list[tuple[logging.StreamHandler[Any], Any]] = []

    def start(self, step: int, total: int) -> None:
        """Begin, or go on, at a step of so many."""
        super().start(step, total)
        self._open()
        self._task = self._progress.add_task("training", total=total, completed=step, note="")

    def advance(self, step: int, note: str) -> None:
        """Move on to a step."""
        super().advance(step, note)
        if self._task is not None:
            self._progress.update(self._task, completed=step, note=f"{note}, {self.time_left} left")

    @contextmanager
    def evaluation(self, num_batches: int, label: str = "") -> Iterator[Callable[[], None]]:
        """Show a bar for an evaluation of so many batches."""
        self._open()
        task = self._progress.add_task(_named("evaluation", label), total=num_batches, note="")
        try:
            yield lambda: self._progress.advance(task)
        finally:
            self._progress.remove_task(task)

    def close(self) -> None:
        """Leave the bars as they stand."""
        if not self._is_open:
            return
        self._progress.stop()
        for handler, stream in self._streams:
            handler.setStream(stream)
            handler.removeFilter(_is_no_step)
        self._streams, self._is_open = [], False

    def _open(self) -> None:
        """Draw, and let log lines go above what is drawn, instead of into it."""
        if self._is_open:
            return
        self._is_open = True
        before = {id(sys.stdout): "stdout", id(sys.stderr): "stderr"}
        self._progress.start()
        for handler in logging.getLogger().handlers:
            name = before.get(id(getattr(handler, "stream", None)))
            if name and isinstance(handler, logging.StreamHandler):
                self._streams.append((handler, handler.stream))
                handler.setStream(getattr(sys, name))
                handler.addFilter(_is_no_step)


def open_display() -> Display:
    """Choose the display for where the run's output goes."""
    console = Console()
    return BarDisplay(console) if console.is_terminal and rank() == 0 else Display()


def _named(what: str, label: str) -> str:
    return f"{what} ({label})" if label else what


def _is_no_step(record: logging.LogRecord) -> bool:
    return not hasattr(record, "of_a_step")
