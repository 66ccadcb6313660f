"""What can be wrong with a recipe, found before anything is built."""

from __future__ import annotations

import torch

from mscsa.data.scenes.scene import SMALLEST_SIDE as SMALLEST_SCENE
from mscsa.errors import UserError
from mscsa.frozen.backbone import check_frozen
from mscsa.recipes.spec import PARTS, ClassificationAugment, DetectionAugment, DetectionData, Recipe

_SIZES = ("image_size", "short_side", "long_side", "max_digits")


def check_recipe(recipe: Recipe, device: torch.device) -> None:
    """Refuse settings that cannot run.

    Raises:
        UserError: At the first one; says which, and what is allowed.
    """
    run, data = recipe.run, recipe.data
    expected = PARTS[recipe.model.task]
    if (type(data), type(recipe.augment)) != expected:
        raise UserError(
            f"model.head {recipe.model.head} makes a model for {recipe.model.task}, but recipe "
            f"{recipe.name} is for another task: take a recipe of that task (`mscsa list --recipes`)"
        )
    counts = {
        **{f"data.{name}": getattr(data, name) for name in _SIZES if hasattr(data, name)},
        "data.batch_size": data.batch_size,
        "data.eval_batch_size": data.eval_batch_size,
        "run.epochs": run.epochs,
        "run.steps": 1 if run.steps is None else run.steps,
        "run.max_steps": 1 if run.max_steps is None else run.max_steps,
        "run.devices": run.devices,
        "run.num_nodes": run.num_nodes,
        "run.accumulate": run.accumulate,
        "run.checkpoint_every": run.checkpoint_every,
        "run.eval_every": run.eval_every,
        "run.log_every": run.log_every,
        "run.threads": 1 if run.threads is None else run.threads,
    }
    for name, count in counts.items():
        if count < 1:
            raise UserError(f"{name} {count} is not possible; give 1 or more")
    if data.workers < 0:
        raise UserError(f"data.workers {data.workers} is not possible; give 0 or more")
    if isinstance(recipe.augment, DetectionAugment):
        _check_sides(recipe.augment)
    if isinstance(data, DetectionData) and data.short_side > data.long_side:
        raise UserError(
            f"data.short_side {data.short_side} is more than data.long_side {data.long_side}: give a "
            "long_side of at least that"
        )
    if data.is_rendered and min(data.input_size) < SMALLEST_SCENE:
        raise UserError(
            f"{data.kind} of {min(data.input_size)} px are too small; give {SMALLEST_SCENE} px or more"
        )
    if recipe.model.frozen:
        check_frozen(recipe)
    _check_device(recipe, device)
    _check_batch(recipe)


def _check_sides(augment: DetectionAugment) -> None:
    crop_sides = (1, 1) if augment.crop_sides is None else augment.crop_sides
    given = {"short_sides": augment.short_sides, "crop_short_sides": augment.crop_short_sides}
    for name, sides in {**given, "crop_sides": crop_sides}.items():
        if any(side < 1 for side in sides):
            raise UserError(f"augment.{name} {list(sides)} is not possible; give sides of 1 px or more")
    if not augment.crop_short_sides or crop_sides[0] > crop_sides[1]:
        raise UserError(
            f"augment.crop_sides {list(crop_sides)} with crop_short_sides "
            f"{list(augment.crop_short_sides)} is not possible; give the smaller side first, and one "
            "crop_short_side or more"
        )


def _check_device(recipe: Recipe, device: torch.device) -> None:
    run = recipe.run
    if device.type == "cuda":
        if run.devices > torch.cuda.device_count():
            raise UserError(
                f"run.devices {run.devices}: torch sees {torch.cuda.device_count()} GPU(s); give at most that"
            )
        return
    if run.sync_batchnorm and run.devices * run.num_nodes > 1:
        raise UserError("run.sync_batchnorm works on GPUs only; turn it off for several CPU processes")
    if run.precision == "16-mixed":
        raise UserError("run.precision 16-mixed needs a GPU; give bf16-mixed or 32-true on the CPU")


def _check_batch(recipe: Recipe) -> None:
    augment, run = recipe.augment, recipe.run
    if not isinstance(augment, ClassificationAugment):
        return
    shares = run.devices * run.num_nodes * run.accumulate
    batch = recipe.data.batch_size // shares
    is_mixing = augment.mix_prob > 0 and (augment.mixup > 0 or augment.cutmix > 0)
    if is_mixing and batch % 2:
        raise UserError(
            f"data.batch_size {recipe.data.batch_size} gives batches of {batch} "
            f"({shares} share(s)), and mixup and cutmix mix pairs; give a multiple of {2 * shares}, "
            "or set augment.mixup and augment.cutmix to 0"
        )
