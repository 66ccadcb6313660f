"""A run that was killed or stopped, and resumed, ends as the run that was not: bit for bit."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock
from PIL import Image

from mscsa.checkpoints import read_state_dict
from mscsa.errors import UserError
from mscsa.recipes.spec import Recipe
from mscsa.run_files import LAST, PREVIOUS
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.metrics_log import read_metrics
from mscsa.training.run import train
from tests.training.processes import run
from tests.training.small_runs import (
    SPEED,
    STEPS_PER_EPOCH,
    plain_recipe,
    read_samples,
    resume_interrupted_in_evaluation,
    small_recipe,
    train_interrupted_in_evaluation,
    train_logging,
)

KILL, TERM, INT = signal.SIGKILL, signal.SIGTERM, signal.SIGINT


def with_workers(recipe: Recipe, workers: int) -> Recipe:
    return replace(recipe, data=replace(recipe.data, workers=workers))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never stopped."""
    folder = tmp_path_factory.mktemp("reference") / "run"
    assert run(train_logging, small_recipe(), folder) == 0
    return folder


def flatten(tree: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(tree, dict):
        for name, value in tree.items():
            yield from flatten(value, f"{key}/{name}")
    elif isinstance(tree, (list, tuple)):
        for place, value in enumerate(tree):
            yield from flatten(value, f"{key}/{place}")
    else:
        yield key, tree


def assert_same_run(folder: Path, reference: Path) -> None:
    """Weights, moving average, optimiser, schedule, position, exported files and metrics are equal."""
    ours, theirs = (dict(flatten(read_checkpoint(path / LAST))) for path in (folder, reference))
    ours_keys, theirs_keys = ({k for k in keys if not _may_differ(k)} for keys in (ours, theirs))
    assert ours_keys == theirs_keys
    tensors = [key for key in ours_keys if isinstance(ours[key], torch.Tensor)]
    assert any("/current_model_state/" in key for key in tensors)
    assert any("/optimizer_states/" in key for key in tensors)
    for key in ours_keys:
        same = torch.equal(ours[key], theirs[key]) if key in tensors else ours[key] == theirs[key]
        assert same, key
    assert_same_weights(folder, reference)
    assert metrics(folder) == metrics(reference)


def assert_same_weights(folder: Path, reference: Path) -> None:
    for name in ("best.safetensors", "last.safetensors"):
        ours, theirs = (read_state_dict(path / name)[0] for path in (folder, reference))
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert torch.equal(ours[key], value), f"{name}: {key}"


def _may_differ(key: str) -> bool:
    # Of Lightning's counters only the position matters (`set_position`); these count within a session.
    counters = ("optim_progress/", "scheduler_progress/current/")
    return key.endswith(("/seconds", "/recipe/data/workers")) or any(each in key for each in counters)


def image_folder(place: Path) -> Path:
    """Make a set of two classes with an image that is none."""
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (place / "images" / split / name).mkdir(parents=True)
            for i in range(4):
                path = place / "images" / split / name / f"{i}.png"
                Image.new("RGB", (40, 40), (60 * i, 0, 0)).save(path)
    (place / "images" / "train" / "cat" / "2.png").write_bytes(b"no image")
    return place / "images"


def metrics(folder: Path) -> list[dict[str, str]]:
    rows = read_metrics(folder / "metrics.csv")
    return [{k: v for k, v in row.items() if k not in SPEED} for row in rows]


def assert_same_samples(folder: Path, reference: Path) -> None:
    """Each batch of every session held the samples of the reference's batch, and none is missing."""
    expected = read_samples(reference)
    seen = read_samples(folder)
    assert len(expected) == len(set(expected)) == 3 * STEPS_PER_EPOCH
    assert set(seen) == set(expected)


@pytest.mark.parametrize(
    ("step", "workers"),
    [
        pytest.param(4, 0, id="within-the-first-epoch"),
        pytest.param(8, 2, id="within-the-second-epoch-two-workers"),
        pytest.param(6, 0, id="first-step-of-an-epoch", marks=pytest.mark.slow),
        pytest.param(11, 2, id="after-the-second-epoch-two-workers", marks=pytest.mark.slow),
    ],
)
def test_kill_and_resume_is_exact(tmp_path: Path, reference: Path, step: int, workers: int) -> None:
    recipe = with_workers(small_recipe(), workers)
    folder = tmp_path / "run"
    assert run(train_logging, recipe, folder, False, {step: (KILL,)}) == -KILL
    killed = read_samples(folder)
    saved = read_checkpoint(folder / LAST)["global_step"]
    assert step - 3 <= saved < step  # checkpoint_every is 2
    assert run(train_logging, recipe, folder, True) == 0
    resumed = read_samples(folder)[len(killed) :]
    assert resumed[0][:2] == divmod(saved, STEPS_PER_EPOCH)  # nothing again, nothing left out
    assert len(resumed) == 3 * STEPS_PER_EPOCH - saved
    assert_same_samples(folder, reference)
    assert_same_run(folder, reference)


def test_stopped_by_sigterm_within_the_step(tmp_path: Path, reference: Path) -> None:
    folder = tmp_path / "run"
    assert run(train_logging, small_recipe(), folder, False, {3: (TERM,)}) == 143
    assert read_checkpoint(folder / LAST)["global_step"] == 3
    # At the last step of an epoch the evaluation is still to come; it must not be lost.
    assert run(train_logging, small_recipe(), folder, True, {5: (INT,)}) == 130
    assert read_checkpoint(folder / LAST)["global_step"] == 5
    assert len(metrics(folder)) == 2
    # The same at the last step of all.
    assert run(train_logging, small_recipe(), folder, True, {15: (TERM,)}) == 143
    assert not (folder / "result.json").exists()
    assert run(train_logging, small_recipe(), folder, True) == 0
    assert (folder / "result.json").exists()
    assert_same_samples(folder, reference)
    assert metrics(folder) == metrics(reference)
    assert_same_weights(folder, reference)


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        pytest.param(3, id="of-the-average"),
        pytest.param(4, id="of-the-weights", marks=pytest.mark.slow),
    ],
)
def test_stopped_in_an_evaluation(tmp_path: Path, reference: Path, number: int) -> None:
    """The second evaluation, which goes through the images twice."""
    folder = tmp_path / "run"
    assert run(train_interrupted_in_evaluation, small_recipe(), folder, number) == 143
    assert read_checkpoint(folder / LAST)["global_step"] == 2 * STEPS_PER_EPOCH
    assert [row["step"] for row in metrics(folder) if row["val_top1"]] == ["5"]
    assert run(train_logging, small_recipe(), folder, True) == 0
    assert_same_run(folder, reference)


@pytest.mark.slow
def test_stopped_in_the_evaluation_that_a_resume_begins_with(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(train_logging, plain_recipe(), folder, False, {5: (TERM,)}) == 143
    for signum, code in ((INT, 130), (TERM, 143)):
        assert run(resume_interrupted_in_evaluation, plain_recipe(), folder, signum) == code
        assert read_checkpoint(folder / LAST)["global_step"] == 5 and metrics(folder)[-1]["val_top1"] == ""
    assert run(train_logging, plain_recipe(), folder, True) == 0
    assert [row["step"] for row in metrics(folder) if row["val_top1"]] == ["5", "10", "15"]


def test_a_damaged_checkpoint_gives_way_to_the_one_before_it(
    tmp_path: Path, reference: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    assert run(train_logging, small_recipe(), folder, False, {9: (KILL,)}) == -KILL
    saved = read_checkpoint(folder / PREVIOUS)["global_step"]
    assert saved < read_checkpoint(folder / LAST)["global_step"]
    with (folder / LAST).open("r+b") as file:
        file.seek(1000)
        file.write(b"rotten")
    train(small_recipe(), folder, resume=True)
    warnings = [each.getMessage() for each in caplog.records if "is damaged" in each.getMessage()]
    assert len(warnings) == 1 and "going on from previous.ckpt" in warnings[0] and "\n" not in warnings[0]
    assert_same_run(folder, reference)
    assert (folder / "damaged.ckpt").exists()


@pytest.mark.slow
def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(plain_recipe(max_steps=2), folder)
    before = (folder / LAST).read_bytes()
    lock = FileLock(folder / ".lock")
    lock.acquire()
    with pytest.raises(UserError, match="another process is training in"):
        train(plain_recipe(), folder, resume=True)
    lock.release()
    assert (folder / LAST).read_bytes() == before


def test_a_run_that_failed_before_its_first_checkpoint_does_not_keep_its_folder(tmp_path: Path) -> None:
    folder, recipe = tmp_path / "run", plain_recipe()
    wrong = replace(recipe, data=replace(recipe.data, kind="folder", root=str(image_folder(tmp_path))))
    with pytest.raises(UserError, match="not an image"):
        train(wrong, folder)
    assert (folder / "config.yaml").exists()
    assert train(recipe, folder).steps == 15


def test_a_schedule_without_room_is_refused_before_there_is_a_folder(tmp_path: Path) -> None:
    recipe = plain_recipe()
    with pytest.raises(UserError, match="would never be reached"):
        train(replace(recipe, optim=replace(recipe.optim, warmup_epochs=9.0)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_second_signal_ends_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run(train_logging, plain_recipe(), folder, False, {4: (TERM, TERM)}, False, 1.1) == 143
    assert read_checkpoint(folder / LAST)["global_step"] == 2


def test_two_signals_at_once_are_one_request(tmp_path: Path) -> None:
    """A whole service is told to stop, and what started the run tells it, too."""
    folder = tmp_path / "run"
    assert run(train_logging, plain_recipe(), folder, False, {4: (TERM, INT)}) == 143
    assert read_checkpoint(folder / LAST)["global_step"] == 4


@pytest.mark.slow
def test_resume_with_accumulated_batches_is_exact(tmp_path: Path) -> None:
    recipe = replace(small_recipe(accumulate=2, epochs=2))
    whole, folder = tmp_path / "whole", tmp_path / "run"
    assert run(train_logging, recipe, whole) == 0
    assert run(train_logging, recipe, folder, False, {4: (KILL,)}) == -KILL
    assert run(train_logging, recipe, folder, True) == 0
    assert set(read_samples(folder)) == set(read_samples(whole))
    assert_same_run(folder, whole)


@pytest.mark.slow
def test_a_longer_run_goes_on_from_a_shorter_one(tmp_path: Path, reference: Path) -> None:
    folder = tmp_path / "run"
    result = train(small_recipe(max_steps=7), folder)
    assert result.steps == 7
    result = train(small_recipe(), folder, resume=True)
    assert result.steps == 15
    ours, theirs = (read_checkpoint(path / LAST) for path in (folder, reference))
    for part in ("state_dict", "current_model_state"):
        for key, value in theirs[part].items():
            assert torch.equal(ours[part][key], value), key


def test_resuming_a_finished_run_gives_its_result(tmp_path: Path) -> None:
    first = train(plain_recipe(epochs=1), tmp_path / "run")
    before = (tmp_path / "run" / "last.safetensors").read_bytes()
    again = train(plain_recipe(epochs=1), tmp_path / "run", resume=True)
    assert replace(again, seconds=first.seconds) == first
    assert (tmp_path / "run" / "last.safetensors").read_bytes() == before


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain run stopped at step 3."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    train(plain_recipe(max_steps=3), folder)
    return folder


@pytest.mark.parametrize(
    ("field", "part", "change"),
    [
        ("run.seed", "run", {"seed": 4}),
        ("processes", "run", {"devices": 2}),
    ],
)
def test_resume_of_another_run_is_refused(
    stopped: Path, field: str, part: str, change: dict[str, Any]
) -> None:
    recipe = plain_recipe()
    recipe = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
    with pytest.raises(UserError, match=rf"run with {field} = ") as caught:
        train(recipe, stopped, resume=True)
    assert "\n" not in str(caught.value)


def test_resume_of_what_is_not_there_or_damaged_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing to resume"):
        train(plain_recipe(), tmp_path / "nowhere", resume=True)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / LAST).write_bytes(b"PK\x03\x04 not a checkpoint")
    with pytest.raises(UserError, match="cannot be read"):
        train(plain_recipe(), folder, resume=True)
    torch.save({"state_dict": {}}, folder / LAST)
    with pytest.raises(UserError, match="no checkpoint of `mscsa train`"):
        train(plain_recipe(), folder, resume=True)


def test_a_run_before_its_end_is_not_rewound(stopped: Path) -> None:
    with pytest.raises(UserError, match="at step 3, beyond the end of this run at 2"):
        train(plain_recipe(max_steps=2), stopped, resume=True)
