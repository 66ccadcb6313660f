"""What ends a training loop from outside: one line that says what to do; everything else passes."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from mscsa.errors import UnreadableImage, UserError
from mscsa.run_files import LAST
from mscsa.training.failures import explain


class Killed:
    """A data set whose reader is killed, as the system does where memory is full."""

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_loader_process_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        list(DataLoader(Killed(), num_workers=1))  # type: ignore[arg-type]
    text = str(explain(caught.value, tmp_path))
    assert "a process that reads images was killed" in text and "\n" not in text
    assert text.endswith("lower data.workers, then start it again")
    (tmp_path / LAST).touch()
    assert str(explain(caught.value, tmp_path)).endswith(f"then go on with --resume {tmp_path}")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), "the memory of the GPU is full: "),
        (MemoryError(), "the memory of this machine is full: a smaller data.batch_size"),
        (
            OSError(5, "Input/output error", "a/b.png"),
            "a/b.png: Input/output error; put it right, then start",
        ),
        (OSError("odd"), "odd; put it right"),
        (UnreadableImage("a.png: empty file; remove or replace it"), ", or give --data.max_bad 1"),
        (UserError("as it is"), "as it is"),
    ],
)
def test_each_cause_is_one_line(error: Exception, said: str, tmp_path: Path) -> None:
    text = str(explain(error, tmp_path))
    assert said in text and "\n" not in text


def test_an_unreadable_image_in_a_run_that_was_saved(tmp_path: Path) -> None:
    (tmp_path / LAST).touch()
    text = str(explain(UnreadableImage("a.png: empty file; remove or replace it"), tmp_path))
    assert text.startswith(
        "a.png: empty file; remove or replace it and start anew, for a run goes on with the"
    )
    assert text.endswith(f"or go on without it by --resume {tmp_path} --data.max_bad 1")


def test_a_full_memory_of_the_cpu_is_found_by_what_torch_says(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**50, dtype=torch.float64)
    assert "the memory of this machine is full" in str(explain(caught.value, tmp_path))


@pytest.mark.parametrize("error", [KeyError("bug"), RuntimeError("shapes differ"), ValueError("bug")])
def test_a_bug_stays_one(error: Exception, tmp_path: Path) -> None:
    assert explain(error, tmp_path) is None
