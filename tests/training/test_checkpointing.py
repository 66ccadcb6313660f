"""`last.ckpt` is whole at any time, and nothing in it is executed."""

from __future__ import annotations

import errno
import os
import pickle
import shutil
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mscsa.errors import UserError
from mscsa.recipes.spec import OptimSpec
from mscsa.training import checkpointing
from mscsa.training.checkpointing import (
    LAST,
    AtomicCheckpointIO,
    check_free_space,
    read_checkpoint,
    remove_leftovers,
    set_position,
)
from mscsa.training.run import train
from tests.training.processes import start
from tests.training.small_runs import plain_recipe


def checkpoint(number: int, values: int = 100) -> dict[str, Any]:
    weights = torch.full((values,), float(number))
    return {"mscsa": {}, "loops": {}, "global_step": number, "state_dict": {"weight": weights}}


def save_for_ever(path: Path) -> None:
    number = 1
    while True:
        AtomicCheckpointIO().save_checkpoint(checkpoint(number, 2_000_000), path)
        number += 1


def test_kill_while_saving_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(0, 2_000_000), path)
    leftovers = 0
    for trial in range(8):
        process = start(save_for_ever, path)
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".*.tmp")) and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(0.003 * trial)  # at different places of a save
        process.kill()
        process.join()
        content = read_checkpoint(path)
        weights = content["state_dict"]["weight"]
        assert torch.equal(weights, torch.full_like(weights, float(content["global_step"])))
        leftovers += len(list(tmp_path.glob(".*.tmp")))
    assert leftovers, "no save was hit: the trials prove nothing"
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [LAST]


def test_half_a_file_beside_the_checkpoint_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(4), path)
    half = path.read_bytes()[: path.stat().st_size // 2]
    (tmp_path / f".{LAST}.123.tmp").write_bytes(half)
    assert read_checkpoint(path)["global_step"] == 4
    AtomicCheckpointIO().save_checkpoint(checkpoint(5), path)
    assert read_checkpoint(path)["global_step"] == 5
    remove_leftovers(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [LAST]


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("PytorchStreamWriter failed\nat ...")],
    ids=["system", "torch"],
)
def test_a_full_disk_is_one_line_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(1), path)

    def write_some(content: object, file: Any) -> None:
        file.write(b"half")
        raise failure

    monkeypatch.setattr(checkpointing.torch, "save", write_some)
    with pytest.raises(UserError, match=f"cannot write {path}: .*previous (file|checkpoint)") as caught:
        AtomicCheckpointIO().save_checkpoint(checkpoint(2), path)
    assert "\n" not in str(caught.value)
    assert [entry.name for entry in tmp_path.iterdir()] == [LAST]
    assert read_checkpoint(path)["global_step"] == 1


def test_a_vanished_folder_is_an_error_at_the_save(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the folder .* is gone"):
        AtomicCheckpointIO().save_checkpoint(checkpoint(1), tmp_path / "gone" / LAST)


class Payload:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


@pytest.mark.parametrize("write", [torch.save, lambda content, path: path.write_bytes(pickle.dumps(content))])
def test_code_in_a_checkpoint_is_never_run(tmp_path: Path, write: Any) -> None:
    trace = tmp_path / "executed"
    write({**checkpoint(1), "extra": Payload(trace)}, tmp_path / LAST)
    for load in (
        read_checkpoint,
        lambda path: AtomicCheckpointIO().load_checkpoint(path, weights_only=False),
    ):
        with pytest.raises(UserError, match="cannot be read"):
            load(tmp_path / LAST)
    assert not trace.exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(1, 10_000), path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


def test_no_start_without_room_for_two_checkpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    model = nn.Linear(1024, 1023, bias=True)
    one = 4 * 1024 * 1023 + 4 * 1023
    for optim, copies in (
        (OptimSpec(), 3),
        (OptimSpec(ema_decay=0.9), 4),
        (OptimSpec(optimizer="sgd"), 2),
    ):
        needed = 2 * copies * one
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed: usage(0, 0, free))
        check_free_space(tmp_path, model, optim)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed - 1: usage(0, 0, free))
        with pytest.raises(UserError, match="for two checkpoints"):
            check_free_space(tmp_path, model, optim)


def test_train_refuses_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(UserError, match="0 MiB are free"):
        train(plain_recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_estimate_of_a_checkpoint_is_about_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twice the real size must not be more than what is asked for, nor much less."""
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=1), folder)
    size = (folder / LAST).stat().st_size
    usage = namedtuple("usage", "total used free")
    for free, fits in ((2.2 * size, True), (1.5 * size, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: usage(0, 0, free))
        target = tmp_path / f"run{fits}"
        if fits:
            train(plain_recipe(max_steps=1), target)
        else:
            with pytest.raises(UserError, match="are free"):
                train(plain_recipe(max_steps=1), target)


def test_position_of_lightnings_loops() -> None:
    state: dict[str, Any] = {}
    set_position(state, epoch=2, batch=3, batches_before=13, global_step=13)
    assert state["epoch_progress"]["current"] == {"ready": 3, "started": 3, "processed": 2, "completed": 2}
    batches = state["epoch_loop.batch_progress"]
    assert set(batches["current"].values()) == {3}
    assert set(batches["total"].values()) == {13}
    set_position(state, epoch=2, batch=0, batches_before=10, global_step=10)
    assert set(state["epoch_progress"]["total"].values()) == {2}
    assert state["epoch_loop.batch_progress"]["is_last_batch"] is False
