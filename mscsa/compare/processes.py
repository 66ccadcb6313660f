"""The training runs of a comparison: each `mscsa train` in a process of its own, some at a time, resumable.

A run that has its result is not repeated; one that was stopped goes on from its last checkpoint.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from mscsa.compare.child import Child
from mscsa.compare.progress import BarDisplay, LineDisplay, open_display
from mscsa.compare.run import Run
from mscsa.errors import UserError
from mscsa.run_files import LAST, PREVIOUS

logger = logging.getLogger(__name__)

_POLL_S = 0.5


def train_all(runs: Sequence[Run], *, jobs: int, on_gpu: bool) -> None:
    """Train what is not finished, at most `jobs` at a time.

    On the CPU each run has one thread unless its recipe says how many: its bits then depend on no number of
    cores or jobs. If a run fails, or an interrupt is raised, the others save and stop.

    Raises:
        UserError: If a run fails; names its log.
    """
    waiting = [run for run in runs if run.result is None]
    running: dict[Run, Child] = {}
    with open_display(len(waiting)) as display:
        for run in runs:
            if run not in waiting:
                display.update(run, "kept")
        try:
            while waiting or running:
                _start_next(waiting, running, jobs, on_gpu=on_gpu)
                time.sleep(_POLL_S)
                _look_after(running, display)
        finally:
            _stop(running)


def _start_next(waiting: list[Run], running: dict[Run, Child], jobs: int, *, on_gpu: bool) -> None:
    """Start runs until `jobs` are running."""
    for run in waiting[: jobs - len(running)]:
        waiting.remove(run)
        running[run] = _start(run, on_gpu=on_gpu)


def _look_after(running: dict[Run, Child], display: BarDisplay | LineDisplay) -> None:
    """Show how far the runs are, and take out those that have ended.

    Raises:
        UserError: If one failed.
    """
    for run, process in list(running.items()):
        code = process.poll()
        if code is None:
            display.update(run, "running")
            continue
        del running[run]
        _check(run, code)
        display.update(run, "done")


def _start(run: Run, *, on_gpu: bool) -> Child:
    # What ended before its first checkpoint `mscsa train` clears away, once no other process is at it.
    can_resume = any((run.folder / name).exists() for name in (LAST, PREVIOUS))
    command = ["train", run.recipe_name, "--config", str(run.config)]
    command += ["--run.seed", str(run.seed), "--out", str(run.folder)]
    command += [] if on_gpu or run.threads is not None else ["--run.threads", "1"]
    command += ["--resume"] if can_resume else []
    run.log.parent.mkdir(parents=True, exist_ok=True)
    return Child(command, run.log)


def _stop(running: dict[Run, Child]) -> None:
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
