"""`log.txt` of a run's folder: what was said on the terminal, each line with its time."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from logging.handlers import MemoryHandler
from pathlib import Path
from types import TracebackType

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


class RunLog:
    """Keeps what `mscsa` logs, and writes it to a file once there is one; the end of a run too."""

    def __init__(self) -> None:
        self._memory = MemoryHandler(capacity=10_000, flushLevel=logging.CRITICAL + 1)
        self._file: _QuietFileHandler | None = None

    def __enter__(self) -> RunLog:
        logging.getLogger("mscsa").addHandler(self._memory)
        return self

    def open(self, path: Path) -> None:
        """Write what was said so far, and from now on, to the end of a file."""
        self._file = _QuietFileHandler(path, encoding="utf-8")
        self._file.setFormatter(logging.Formatter(_FORMAT))
        self._memory.setTarget(self._file)
        self._memory.flush()
        ours = logging.getLogger("mscsa")
        ours.removeHandler(self._memory)
        ours.addHandler(self._file)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        ours = logging.getLogger("mscsa")
        ours.removeHandler(self._memory)
        if self._file is None:
            return
        if error is not None:  # who prints it is not in here
            text = " ".join(str(error).split())
            is_expected = isinstance(error, (ValueError, ArithmeticError, SystemExit))
            trace_of_bug = None if is_expected or kind is None else (kind, error, trace)
            record = logging.LogRecord(__name__, logging.ERROR, __file__, 0, text, None, trace_of_bug)
            self._file.handle(record)
        ours.removeHandler(self._file)
        with suppress(OSError):  # what is still in its buffer may not fit, either
            self._file.close()


def add_lines(path: Path, lines: Iterable[str]) -> None:
    """Write what is printed after the end of a run to the end of its log, too."""
    file = _QuietFileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter(_FORMAT))
    for line in lines:
        file.handle(logging.LogRecord(__name__, logging.INFO, __file__, 0, line, None, None))
    with suppress(OSError):
        file.close()


class _QuietFileHandler(logging.FileHandler):
    """A handler that a full disk ends no run by; the checkpoints' errors say it."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Let the line go."""
