"""How far long work is: a bar with the time left on a terminal, a line from time to time elsewhere.

It speaks only where messages of `mscsa` are to be seen (logging at INFO), as on the command line.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

T = TypeVar("T")

logger = logging.getLogger(__name__)

_DRAW_EVERY_S = 0.1


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show work of so many pieces; what it gives is called after each.

    Nothing is drawn in between, so that what is timed is not disturbed.
    """
    if not logger.isEnabledFor(logging.INFO) or os.environ.get("LOCAL_RANK", "0") != "0":
        yield lambda: None
        return
    from rich.console import Console  # not at the top: whoever imports the library needs no terminal

    console = Console(stderr=True)
    with _bar(what, total, console) if console.is_terminal else lines(what, total) as advance:
        yield advance


def tracked(items: Iterable[T], what: str, total: int) -> Iterator[T]:
    """Pass things through and show how many of `total` are done."""
    with progress(what, total) as advance:
        for item in items:
            yield item
            advance()


@contextmanager
def lines(what: str, total: int, every_s: float = 10.0) -> Iterator[Callable[[], None]]:
    """Log how far work of so many pieces is, and the time left; what it gives is called after each piece."""
    done, begun = 0, time.monotonic()
    said = begun

    def advance() -> None:
        nonlocal done, said
        done += 1
        now = time.monotonic()
        if now - said > every_s and done < total:
            said = now
            left = timedelta(seconds=round((now - begun) / done * (total - done)))
            logger.info("%s: %d of %d, %s left", what, done, total, left)

    yield advance


@contextmanager
def _bar(what: str, total: int, console: object) -> Iterator[Callable[[], None]]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn())
    left = (TimeRemainingColumn(), TextColumn("left"))
    bar = Progress(*columns, *left, console=console, transient=True, auto_refresh=False)  # type: ignore[arg-type]
    drawn = time.monotonic()

    def advance() -> None:
        nonlocal drawn
        bar.advance(task)
        if time.monotonic() - drawn > _DRAW_EVERY_S:
            drawn = time.monotonic()
            bar.refresh()

    with bar:
        task = bar.add_task(what, total=total)
        bar.refresh()
        yield advance
