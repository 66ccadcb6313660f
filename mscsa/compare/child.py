"""A command of `mscsa` in a process of its own that does not import everything again.

Importing torch, timm and Lightning takes as long as a short run: where the system can, one server process
imports them once, and each child is a fork of it.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mscsa.compare.parent import follow_parent

_PRELOADED = ["mscsa.training.run", "mscsa.recipes.options"]


class Child:
    """A running `mscsa ARGUMENTS`, under the names that `subprocess.Popen` has for what is asked of it."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        """Start it.

        Args:
            arguments: Of the command line.
            log: File that what it prints is added to.
        """
        process: Any = _context().Process(target=_run, args=(list(arguments), str(log)))
        process.start()
        self._process = process

    def poll(self) -> int | None:
        """Give its exit code; None while it runs."""
        return self._process.exitcode

    def terminate(self) -> None:
        """Ask it to save and end."""
        self._process.terminate()

    def wait(self) -> None:
        """Wait for its end."""
        self._process.join()


def _context() -> Any:
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


def _run(arguments: list[str], log: str) -> None:
    """Run a command line, in the new process."""
    follow_parent()
    if hasattr(os, "setsid"):
        os.setsid()  # so that Ctrl-C reaches it once, from whoever stops it: a second signal ends it at once
    with open(os.devnull) as nothing, open(log, "ab") as file:
        os.dup2(nothing.fileno(), 0)
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    sys.argv = ["mscsa", *arguments]
    runpy.run_module("mscsa_cli", run_name="__main__")
