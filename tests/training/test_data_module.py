"""The data of a run: each process's share, from where the run stands, and loaders that end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from mscsa.data.datasets import build_datasets
from mscsa.recipes.spec import Recipe
from mscsa.training.data_module import RunData
from mscsa.training.interrupt import leave_signals_to_parent
from tests.training.small_runs import STEPS_PER_EPOCH, small_recipe


@contextmanager
def run_data(recipe: Recipe, **trainer: int) -> Iterator[RunData]:
    data = RunData(recipe, *build_datasets(recipe.data, recipe.augment, {}, recipe.run.seed))
    known = {"global_step": 0, "global_rank": 0, "world_size": 1}
    data.trainer = SimpleNamespace(**{**known, **trainer})  # type: ignore[assignment]
    yield data
    data.close()


def indices(loader: Any) -> list[list[int]]:
    return [batch[2].tolist() for batch in loader]


def epoch(recipe: Recipe, **trainer: int) -> list[list[int]]:
    with run_data(recipe, **trainer) as data:
        return indices(data.train_dataloader())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_batches_go_on_from_where_the_run_stands(accumulate: int) -> None:
    recipe = small_recipe(accumulate=accumulate)
    first, second = epoch(recipe), epoch(recipe, global_step=STEPS_PER_EPOCH)
    assert len(first) == len(second) == accumulate * STEPS_PER_EPOCH
    assert first != second
    assert epoch(recipe, global_step=STEPS_PER_EPOCH + 2) == second[2 * accumulate :]


def test_order_repeats_and_seed_are_the_recipes() -> None:
    recipe = small_recipe()
    assert all(batch[0::2] == batch[1::2] for batch in epoch(recipe))  # repeats=2
    once = replace(recipe, augment=replace(recipe.augment, repeats=1))
    assert len({index for batch in epoch(once) for index in batch}) == 8 * STEPS_PER_EPOCH
    assert epoch(once) != epoch(replace(once, run=replace(once.run, seed=4)))


def test_processes_share_each_batch_and_the_evaluation() -> None:
    recipe = small_recipe()
    shares = [epoch(recipe, global_rank=rank, world_size=2) for rank in (0, 1)]
    together = [sorted(first + second) for first, second in zip(*shares, strict=True)]
    assert together == [sorted(batch) for batch in epoch(recipe)]
    seen = []
    for rank in (0, 1):
        with run_data(recipe, global_rank=rank, world_size=2) as data:
            seen += [index for batch in indices(data.val_loader()) for index in batch]
    assert sorted(seen) == list(range(11))


def test_images_that_do_not_fill_a_step_are_left_out() -> None:
    recipe = small_recipe()
    with run_data(recipe) as data:
        assert data.steps_per_epoch == STEPS_PER_EPOCH  # of 43 images in steps of 8
        assert data.val_loader() is data.val_loader()


def test_workers_leave_signals_to_the_process_and_end_with_the_run() -> None:
    recipe = small_recipe()
    recipe = replace(recipe, data=replace(recipe.data, workers=1))
    with run_data(recipe) as data:
        loaders = data.train_dataloader(), data.val_loader()
        assert all(loader.worker_init_fn is leave_signals_to_parent for loader in loaders)
        assert [len(list(loader)) for loader in loaders] == [STEPS_PER_EPOCH, 3]
        assert len(multiprocessing.active_children()) == 1  # those of evaluation ended with it
    assert not multiprocessing.active_children()
