"""Unreadable images of a run: replaced in training, left out of scores, listed, and limited."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mscsa.checkpoints import read_state_dict
from mscsa.recipes.spec import ClassificationData, Recipe
from mscsa.run_files import LAST
from mscsa.training.checkpointing import read_checkpoint
from mscsa.training.run import train
from tests.refusals import one_line_error
from tests.training.small_runs import plain_recipe


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two classes of 12 images for training and 5 for validation, one of each split damaged."""
    root = tmp_path / "data"
    for split, count in (("train", 12), ("val", 5)):
        for number, name in enumerate("ab"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                color = (90 * number + 5 * i, 200 - 9 * i, 40)
                Image.new("RGB", (32, 32), color).save(root / split / name / f"{i:02}.png")
    for name in ("train/a/03.png", "val/b/01.png"):
        (root / name).write_bytes((root / name).read_bytes()[:40])
    return root


def recipe(root: Path, max_bad: int, workers: int = 0, **run: int) -> Recipe:
    data = ClassificationData(
        kind="folder",
        root=str(root),
        image_size=32,
        batch_size=8,
        eval_batch_size=4,
        workers=workers,
        max_bad=max_bad,
    )
    return replace(plain_recipe(**run), data=data)


def test_by_default_the_first_one_ends_the_run(root: Path, tmp_path: Path) -> None:
    one_line_error(
        lambda: train(recipe(root, 0), tmp_path / "run"), "a/03.png: not an image of a supported format"
    )


@pytest.mark.parametrize("workers", [0, 2])
def test_they_are_replaced_left_out_and_listed(
    root: Path, tmp_path: Path, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    result = train(recipe(root, 1, workers), folder)
    assert result.steps == 9 and result.scores["num_samples"] == 9
    listed = [line.split("\t") for line in (folder / "bad_images.txt").read_text().splitlines()]
    assert [(split, name) for split, name, _ in listed] == [
        ("train", str(root / "train/a/03.png")),
        ("val", str(root / "val/b/01.png")),
    ]
    assert all("not an image of a supported format" in why for _, _, why in listed)
    said = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(said) == 3 and said[0].endswith("another image takes its place")
    assert said[1].endswith("it is left out of the scores") and "1 of train and 1 of val images" in said[2]


def test_one_more_than_allowed_ends_the_run_in_one_line(root: Path, tmp_path: Path) -> None:
    (root / "train/b/05.png").write_bytes(b"no image")
    one_line_error(
        lambda: train(recipe(root, 1), tmp_path / "run"),
        "2 images cannot be used, data.max_bad allows 1; the last: ",
    )


def test_a_run_that_ended_on_one_goes_on_with_a_tolerance_and_as_if_it_had_had_it(
    root: Path, tmp_path: Path
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "run"
    train(recipe(root, 2), whole)
    one_line_error(lambda: train(recipe(root, 0, checkpoint_every=1), folder), "a/03.png")
    train(recipe(root, 2), folder, resume=read_checkpoint_of(folder))
    weights = [read_state_dict(each / "last.safetensors")[0] for each in (whole, folder)]
    assert all((weights[0][key] == weights[1][key]).all() for key in weights[0])
    saved = read_checkpoint(folder / LAST)["callbacks"]["BadImages"]["found"]
    assert json.loads(json.dumps(saved)) == saved and [len(saved[split]) for split in ("train", "val")] == [
        1,
        1,
    ]


def read_checkpoint_of(folder: Path) -> bool:
    """Whether the run got as far as a checkpoint; else it starts anew in the same folder."""
    return (folder / LAST).exists()


def test_removing_it_is_another_run_and_says_what_to_do(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    train(recipe(root, 1, max_steps=3), folder)
    (root / "train/a/03.png").unlink()
    one_line_error(
        lambda: train(recipe(root, 1), folder, resume=True),
        "is of a run with data.num_train = 24, now it is 23",
    )
