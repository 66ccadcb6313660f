"""What ends a training loop from outside, in one line: full memory, killed processes, files."""

from __future__ import annotations

from pathlib import Path

from mscsa.errors import UnreadableImage, UserError
from mscsa.full_memory import KILLED, full_memory
from mscsa.run_files import LAST


def explain(error: Exception, folder: Path) -> UserError | None:
    """Give the line for an error of the training loop that a person can put right; None for any other.

    Args:
        error: What the loop raised.
        folder: Folder of the run.
    """
    if isinstance(error, UnreadableImage) and not (folder / LAST).exists():
        return UserError(f"{error}, or give --data.max_bad 1 to train without it")
    if isinstance(error, UnreadableImage):
        return UserError(
            f"{error} and start anew, for a run goes on with the same images alone; or go on without it by "
            f"--resume {folder} --data.max_bad 1"
        )
    if isinstance(error, UserError):
        return error
    go_on = f"go on with --resume {folder}" if (folder / LAST).exists() else "start it again"
    memory = (
        "a smaller data.batch_size takes less, with run.accumulate for the same step, or "
        "run.grad_checkpointing true: each makes it another run, to start in another folder"
    )
    if (what := full_memory(error)) is not None:
        return UserError(f"{what}: {f'lower data.workers, then {go_on}' if what == KILLED else memory}")
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return UserError(f"{place}{error.strerror or error}; put it right, then {go_on}")
    return None
