"""The training runs of a comparison: each a `mscsa train` process, some at a time, resumable.

A run that has its result is not repeated; one that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import csv
import ctypes
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from mscsa.errors import UserError

logger = logging.getLogger(__name__)

_POLL_S = 0.5
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None)  # loaded here: a forked child must not take locks


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm with one seed."""

    arm: str
    """`baseline` or `mscsa`."""
    seed: int
    recipe_name: str
    config: Path
    """Recipe file of the arm."""
    folder: Path
    """Where `mscsa train` writes."""
    log: Path
    """What it prints."""
    epochs: int | None
    """Length in passes over the data, for the progress; None where it is given in steps."""
    steps: int | None
    """Length in optimiser steps, where it is given or shorter."""
    metric: str
    """Main score of the task: a column of `metrics.csv` after `val_`."""
    metric_label: str
    """What messages call it."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.arm}, seed {self.seed}"

    @property
    def result(self) -> dict[str, Any] | None:
        """What it came to; None until it is finished."""
        path = self.folder / "result.json"
        return json.loads(path.read_text()) if path.exists() else None

    def metrics(self) -> list[dict[str, str]]:
        """Rows of its `metrics.csv` so far; a last one that is being written is left out."""
        path = self.folder / "metrics.csv"
        if not path.exists():
            return []
        text = path.read_text()
        rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        return [row for row in rows if None not in row.values()]

    def curve(self) -> list[tuple[float, float]]:
        """Evaluations so far: (epochs done, main score in %)."""
        column = f"val_{self.metric}"
        return [(float(row["epoch"]), float(row[column])) for row in self.metrics() if row[column]]

    def progress(self) -> float:
        """Share that is done."""
        rows = self.metrics()
        if not rows:
            return 0.0
        by_step = float(rows[-1]["step"]) / self.steps if self.steps else 0.0
        by_epoch = float(rows[-1]["epoch"]) / self.epochs if self.epochs else 0.0
        return min(1.0, max(by_epoch, by_step))


def train_all(runs: Sequence[Run], *, jobs: int, on_gpu: bool) -> None:
    """Train what is not finished, at most `jobs` at a time.

    On the CPU each run has one thread. If a run fails or the user interrupts, the others save and stop.

    Raises:
        UserError: If a run fails; names its log.
    """
    waiting = [run for run in runs if run.result is None]
    running: dict[Run, subprocess.Popen[bytes]] = {}
    console = Console(stderr=True)
    display: BarDisplay | LineDisplay = BarDisplay(console) if console.is_terminal else LineDisplay()
    with display:
        for run in runs:
            if run not in waiting:
                display.update(run, "kept")
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    run = waiting.pop(0)
                    running[run] = _start(run, on_gpu=on_gpu)
                time.sleep(_POLL_S)
                for run, process in list(running.items()):
                    if process.poll() is None:
                        display.update(run, "running")
                        continue
                    del running[run]
                    _check(run, process.returncode)
                    display.update(run, "done")
        finally:
            _stop(running)


def _start(run: Run, *, on_gpu: bool) -> subprocess.Popen[bytes]:
    can_resume = (run.folder / "last.ckpt").exists()
    if run.folder.exists() and not can_resume:
        shutil.rmtree(run.folder)  # stopped before its first checkpoint: there is nothing to go on from
    command = [sys.executable, "-m", "mscsa_cli", "train", run.recipe_name, "--config", str(run.config)]
    command += ["--run.seed", str(run.seed), "--out", str(run.folder)]
    command += [] if on_gpu else ["--run.threads", "1"]
    command += ["--resume"] if can_resume else []
    environment = os.environ if on_gpu else {**os.environ, "OMP_NUM_THREADS": "1"}
    run.log.parent.mkdir(parents=True, exist_ok=True)
    with run.log.open("ab") as log:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            # Of its own, so that Ctrl-C reaches it once, from `_stop`: a second signal ends it at once.
            start_new_session=True,
            preexec_fn=_follow_parent if sys.platform == "linux" else None,
        )


def _follow_parent() -> None:
    """Ask the kernel to send SIGTERM when the parent dies, so that no run is left behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _stop(running: dict[Run, subprocess.Popen[bytes]]) -> None:
    """Let the runs save and end."""
    if not running:
        return
    logger.info("stopping: what runs saves first, and the same command goes on with it")
    for process in running.values():
        process.terminate()
    for process in running.values():
        process.wait()


def _check(run: Run, code: int) -> None:
    if code == 0 and run.result is not None:
        return
    lines = run.log.read_text(errors="replace").strip().splitlines()
    last = lines[-1].removeprefix("error: ") if lines else "it printed nothing"
    raise UserError(f"the run {run.label} failed (exit code {code}): {last}; its log is {run.log}")


class BarDisplay:
    """A bar per run, on a terminal."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
        )
        self._tasks: dict[Run, TaskID] = {}

    def __enter__(self) -> None:
        self._progress.start()

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

    def __enter__(self) -> None:
        pass

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
