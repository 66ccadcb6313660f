"""Promises at a larger size than by default, and than `docs/guarantees.md` states."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mscsa.recipes.spec import Recipe
from mscsa.run_files import LAST, PREVIOUS
from mscsa.training.checkpointing import AtomicCheckpointIO, read_last
from mscsa.training.checkpointing import remove_leftovers as tidy
from mscsa.training.module import TrainingModule
from mscsa.training.run import train
from tests.training.processes import run, start
from tests.training.small_runs import assert_same_run, small_recipe
from tests.training.test_checkpointing import checkpoint, save_for_ever

pytestmark = pytest.mark.long


def train_killed_after(recipe: Recipe, folder: Path, delay: float) -> None:
    """Train, or go on; SIGKILL comes so many seconds after the first step began, wherever the run then is."""
    before = TrainingModule.on_train_batch_start
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    timer.daemon = True

    def begin(self: TrainingModule, batch: Any, batch_idx: int) -> None:
        if not timer.ident:
            timer.start()
        before(self, batch, batch_idx)

    TrainingModule.on_train_batch_start = begin  # type: ignore[method-assign]
    train(recipe, folder, resume=any((folder / name).exists() for name in (LAST, PREVIOUS)))


@pytest.mark.parametrize("workers", [0, 4])
def test_fifty_kills_and_resumes_end_alike(tmp_path: Path, workers: int) -> None:
    """Twenty-five kills with each number of workers, in steps, saves and evaluations."""
    draw, recipe = random.Random(workers), small_recipe()
    recipe = replace(recipe, data=replace(recipe.data, workers=workers))
    assert run(train_killed_after, recipe, tmp_path / "whole", 9999.0) == 0
    kills = runs = 0
    while kills < 25:
        folder = tmp_path / str(runs)
        runs += 1
        while (code := run(train_killed_after, recipe, folder, draw.uniform(0.0, 1.5))) != 0:
            assert code == -signal.SIGKILL
            kills += 1
        assert_same_run(folder, tmp_path / "whole")


def test_a_hundred_kills_while_saving_on_another_file_system() -> None:
    shared, temporary = Path("/dev/shm"), Path(tempfile.gettempdir())
    if not shared.is_dir() or shared.stat().st_dev == temporary.stat().st_dev:
        pytest.skip("no second file system: /dev/shm is missing, or that of the temporary folder")
    with tempfile.TemporaryDirectory(dir=shared) as name:
        folder, hits = Path(name), 0
        AtomicCheckpointIO().save_checkpoint(checkpoint(0, 2_000_000), folder / LAST)
        for trial in range(100):
            process = start(save_for_ever, folder / LAST)
            deadline = time.monotonic() + 60
            while not list(folder.glob(".*.tmp")) and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(0.0003 * trial)
            process.kill()
            process.join()
            content = read_last(folder)[1]
            weights = content["state_dict"]["weight"]
            assert torch.equal(weights, torch.full_like(weights, float(content["global_step"])))
            hits += bool(list(folder.glob(".*.tmp")))
            tidy(folder)
        assert hits > 10, "few saves were hit: the trials prove little"
        assert {entry.name for entry in folder.iterdir()} <= {LAST, PREVIOUS}
