"""A run on packed images: killed and resumed, and beside the same images as files."""

from __future__ import annotations

import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pytest

from mscsa.recipes.spec import ClassificationData, Recipe
from tests.data.packed.packed_files import CLASSES, png, table_of, write_shards
from tests.training.processes import run
from tests.training.small_runs import small_recipe, train_logging
from tests.training.whole_runs.test_resume import assert_same_run, assert_same_weights

STEPS_PER_EPOCH = 3


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders: 15 images to train, 6 to evaluate."""
    root = tmp_path_factory.mktemp("images")
    for seed, (split, count) in enumerate((("train", 5), ("val", 2))):
        for place, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").write_bytes(png(100 * seed + 10 * place + i))
    return root


def recipe_on(root: Path, workers: int = 0) -> Recipe:
    data = ClassificationData(
        kind="folder", root=str(root), image_size=32, batch_size=4, eval_batch_size=4, workers=workers
    )
    return replace(small_recipe(), data=data)


def as_shards(files: Path, root: Path) -> Path:
    return write_shards(files, root)


def as_tables(files: Path, root: Path) -> Path:
    """Parquet, as `datasets` names it."""
    (root / "data").mkdir(parents=True)
    for split, name in (("train", "train"), ("val", "validation")):
        table: Any = table_of(files, split)
        table.to_parquet(root / "data" / f"{name}-00000-of-00001.parquet")
    return root


@pytest.mark.slow
@pytest.mark.parametrize(("pack", "workers"), [(as_shards, 0), (as_tables, 2)])
def test_a_killed_run_ends_as_the_one_that_was_not(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: Any, workers: int
) -> None:
    """Within the second epoch; and the same images as files train to the same weights."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    root = pack(files, tmp_path / "packed")
    straight, killed, plain = (tmp_path / name for name in ("straight", "killed", "plain"))
    assert run(train_logging, recipe_on(root), straight) == 0
    step = STEPS_PER_EPOCH + 2
    assert run(train_logging, recipe_on(root, workers), killed, False, {step: (signal.SIGKILL,)}) == -9
    assert run(train_logging, recipe_on(root, workers), killed, True) == 0
    assert_same_run(killed, straight)
    assert run(train_logging, recipe_on(files), plain) == 0
    assert_same_weights(plain, straight)
