"""How long a run is, in optimiser steps, and whether its data and its schedule have room in it."""

from __future__ import annotations

from mscsa.errors import UserError
from mscsa.recipes.spec import OptimSpec, Recipe, RunSpec


def check_length(recipe: Recipe, num_images: int) -> None:
    """Refuse a run that so many training images cannot fill, before anything is computed for it.

    Raises:
        UserError: If the images do not fill one batch; as `check_schedule`.
    """
    steps = epoch_length(recipe, num_images)
    if steps == 0:
        raise UserError(
            f"the training set has {num_images} images, fewer than data.batch_size "
            f"{recipe.data.batch_size}; lower it to at most that"
        )
    check_schedule(recipe.optim, recipe.run, steps)


def epoch_length(recipe: Recipe, num_images: int) -> int:
    """Count the optimiser steps of an epoch; images that do not fill the last one are left out."""
    return num_images // recipe.data.batch_size


def check_schedule(spec: OptimSpec, run: RunSpec, steps_per_epoch: int) -> None:
    """Refuse a schedule that this run has no room for.

    Raises:
        UserError: If the warm-up would last the whole run, or `multistep` has no milestones.
    """
    length = run_length(run, steps_per_epoch)
    if warmup_length(spec, steps_per_epoch) >= length:
        name = "warmup_epochs" if spec.warmup_steps is None else "warmup_steps"
        raise UserError(
            f"optim.{name} {getattr(spec, name):g} is not shorter than the run of "
            f"{length / steps_per_epoch:g} epochs ({length} steps): the learning rate would never be "
            "reached; lower it, or raise run.epochs or run.steps"
        )
    if spec.schedule == "multistep" and not spec.milestones:
        raise UserError("optim.schedule multistep needs optim.milestones, such as '[8, 11]'")


def run_length(run: RunSpec, steps_per_epoch: int) -> int:
    """Count the optimiser steps that the schedule spans."""
    return run.epochs * steps_per_epoch if run.steps is None else run.steps


def warmup_length(spec: OptimSpec, steps_per_epoch: int) -> float:
    """Count the optimiser steps of the warm-up; a share of an epoch need not be whole."""
    return spec.warmup_epochs * steps_per_epoch if spec.warmup_steps is None else spec.warmup_steps
