"""`last.ckpt` is whole at any time, and nothing in it is executed."""

from __future__ import annotations

import errno
import os
import pickle
import random
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
from mscsa.run_files import LAST, PREVIOUS
from mscsa.training import checkpointing
from mscsa.training.checkpointing import (
    AtomicCheckpointIO,
    check_free_space,
    read_checkpoint,
    read_last,
    remove_leftovers,
    set_damaged_aside,
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
        content = read_last(tmp_path)[1]
        weights = content["state_dict"]["weight"]
        assert torch.equal(weights, torch.full_like(weights, float(content["global_step"])))
        leftovers += len(list(tmp_path.glob(".*.tmp")))
    assert leftovers, "no save was hit: the trials prove nothing"
    remove_leftovers(tmp_path)
    assert {entry.name for entry in tmp_path.iterdir()} <= {LAST, PREVIOUS}


def test_half_a_file_beside_the_checkpoint_is_harmless(tmp_path: Path) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(4), path)
    half = path.read_bytes()[: path.stat().st_size // 2]
    (tmp_path / f".{LAST}.123.tmp").write_bytes(half)
    assert read_checkpoint(path)["global_step"] == 4
    AtomicCheckpointIO().save_checkpoint(checkpoint(5), path)
    assert read_checkpoint(path)["global_step"] == 5
    remove_leftovers(tmp_path)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [LAST, PREVIOUS]


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


def test_every_flipped_bit_is_seen_or_changes_nothing(tmp_path: Path) -> None:
    """torch pads the records of its archive; a bit of the padding alone may flip unseen."""
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(1, 500), path)
    whole, draw, unseen = path.read_bytes(), random.Random(0), 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        path.write_bytes(bytes(damaged))
        try:
            content = read_checkpoint(path)
        except UserError as error:
            assert "\n" not in str(error)
            continue
        unseen += 1
        assert content["global_step"] == 1 and content["mscsa"] == content["loops"] == {}
        assert torch.equal(content["state_dict"]["weight"], torch.ones(500))
    assert unseen < 150


def test_a_flipped_bit_in_the_weights_is_seen(tmp_path: Path) -> None:
    """`torch.load` alone does not look at the checksums of what it maps into memory."""
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(1, 10_000), path)
    flip(path)
    assert torch.load(path, weights_only=True, mmap=True)["global_step"] == 1
    with pytest.raises(UserError, match="cannot be read: it is damaged"):
        read_checkpoint(path)


def flip(path: Path) -> None:
    """Flip a bit in the middle of a file."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte[0] ^ 4]))


def test_the_checkpoint_before_it_is_kept_and_taken_where_the_last_is_damaged(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        AtomicCheckpointIO().save_checkpoint(checkpoint(number, 10_000), tmp_path / LAST)
    path, content = read_last(tmp_path)
    assert (path.name, content["global_step"]) == (LAST, 3)
    flip(tmp_path / LAST)
    path, content = read_last(tmp_path)
    assert (path.name, content["global_step"]) == (PREVIOUS, 2)
    set_damaged_aside(tmp_path)
    AtomicCheckpointIO().save_checkpoint(checkpoint(4), tmp_path / LAST)
    assert read_checkpoint(tmp_path / PREVIOUS)["global_step"] == 2, "the good one is not replaced by the bad"
    flip(tmp_path / PREVIOUS)
    os.unlink(tmp_path / LAST)
    with pytest.raises(UserError, match=f"{LAST} is not there"):
        read_last(tmp_path)
    assert not set_damaged_aside(tmp_path)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_truncated_checkpoint_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / LAST
    AtomicCheckpointIO().save_checkpoint(checkpoint(1, 10_000), path)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(path)


def test_no_start_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    model = nn.Linear(1024, 1023, bias=True)
    one = 4 * 1024 * 1023 + 4 * 1023
    # Three checkpoints of weights, average and moments; best and last weights, with an average twice.
    for optim, copies in (
        (OptimSpec(), 3 * 3 + 2),
        (OptimSpec(ema_decay=0.9), 3 * 4 + 4),
        (OptimSpec(optimizer="sgd"), 3 * 2 + 2),
    ):
        needed = copies * one
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed: usage(0, 0, free))
        check_free_space(tmp_path, model, optim)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed - 1: usage(0, 0, free))
        with pytest.raises(UserError, match="for checkpoints and weights"):
            check_free_space(tmp_path, model, optim)
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=needed + 3 * one - 1: usage(0, 0, free))
        check_free_space(tmp_path, model, optim, keep=2)
        with pytest.raises(UserError, match="for checkpoints and weights"):
            check_free_space(tmp_path, model, optim, keep=3)


def test_train_refuses_a_nearly_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 1000))
    with pytest.raises(UserError, match="0 MiB are free"):
        train(plain_recipe(), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_estimate_of_a_checkpoint_is_about_right(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a run needs must not be more than what is asked for, nor much less."""
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=1), folder)
    size = 3 * (folder / LAST).stat().st_size + 2 * (folder / "last.safetensors").stat().st_size
    usage = namedtuple("usage", "total used free")
    for free, fits in ((1.1 * size, True), (0.8 * size, False)):
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
