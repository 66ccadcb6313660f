"""The length of a run, and what has no room in it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscsa.recipes import get_recipe
from mscsa.recipes.length import check_length, check_schedule, epoch_length, run_length, warmup_length
from mscsa.recipes.spec import OptimSpec, RunSpec
from tests.refusals import one_line_error

STEPS = 7


def test_steps_take_the_place_of_epochs() -> None:
    assert run_length(RunSpec(epochs=3), STEPS) == 21
    assert run_length(RunSpec(epochs=3, steps=5), STEPS) == 5
    assert warmup_length(OptimSpec(warmup_epochs=0.5), STEPS) == 3.5
    assert warmup_length(OptimSpec(warmup_epochs=0.5, warmup_steps=4), STEPS) == 4


@pytest.mark.parametrize(
    ("optim", "run", "message"),
    [
        (
            OptimSpec(warmup_epochs=2.0),
            RunSpec(epochs=2),
            r"warmup_epochs 2 is not shorter .* 2 epochs \(14 steps\)",
        ),
        (OptimSpec(warmup_epochs=2.0), RunSpec(steps=14), r"warmup_epochs 2 is not shorter .*\(14 steps\)"),
        (OptimSpec(warmup_steps=14), RunSpec(epochs=2), r"warmup_steps 14 is not shorter .*\(14 steps\)"),
        (
            OptimSpec(schedule="multistep", warmup_steps=1),
            RunSpec(epochs=2),
            "multistep needs optim.milestones",
        ),
    ],
)
def test_a_schedule_without_room_is_refused(optim: OptimSpec, run: RunSpec, message: str) -> None:
    one_line_error(lambda: check_schedule(optim, run, STEPS), message)


def test_one_step_more_than_the_warm_up_is_enough() -> None:
    check_schedule(OptimSpec(warmup_steps=14), RunSpec(steps=15), STEPS)


def test_images_must_fill_a_batch() -> None:
    recipe = get_recipe("frozen_semantic_fpn/mscsa_tf_efficientnet_lite0")
    batch = recipe.data.batch_size
    one_line_error(lambda: check_length(recipe, batch - 1), f"{batch - 1} images, fewer than data.batch_size")
    check_length(recipe, batch)
    assert epoch_length(recipe, 3 * batch - 1) == 2  # what does not fill a batch is left out
    short = replace(recipe, run=replace(recipe.run, steps=recipe.optim.warmup_steps))
    one_line_error(lambda: check_length(short, batch), "would never be reached")
