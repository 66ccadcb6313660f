"""What can be wrong with a recipe, found before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mscsa.data.scenes.scene import SMALLEST_SIDE as SMALLEST_SCENE
from mscsa.errors import UserError
from mscsa.evaluation.scores import SCORES, score_names
from mscsa.frozen.backbone import check_frozen
from mscsa.recipes.spec import (
    PARTS,
    ClassificationAugment,
    DetectionAugment,
    DetectionData,
    OptimSpec,
    Recipe,
)


def check_recipe(recipe: Recipe, device: torch.device) -> None:
    """Refuse settings that cannot run.

    Raises:
        UserError: At the first one; says which, and what is allowed.
    """
    data = recipe.data
    expected = PARTS[recipe.model.task]
    if (type(data), type(recipe.augment)) != expected:
        raise UserError(
            f"model.head {recipe.model.head} makes a model for {recipe.model.task}, but recipe "
            f"{recipe.name} is for another task: take a recipe of that task (`mscsa list --recipes`)"
        )
    if recipe.model.loss and recipe.model.task != "segmentation":
        raise UserError(
            f"model.loss is for segmentation, recipe {recipe.name} for {recipe.model.task}: leave it out"
        )
    if isinstance(recipe.augment, DetectionAugment) and not recipe.augment.crop_short_sides:
        raise UserError("augment.crop_short_sides [] is not possible; give one side or more")
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
        if data.max_bad:
            raise UserError(
                f"data.max_bad {data.max_bad} is for images that are read during the run, those of "
                "model.frozen are read before it; leave it out, and remove what cannot be read"
            )
    _check_optimizer(recipe.optim)
    _check_run(recipe)
    _check_strategy(recipe)
    _check_device(recipe, device)
    _check_batch(recipe)


def check_classes(recipe: Recipe, names: Sequence[str]) -> int:
    """Count the classes; refuse a classifier that has nothing to tell apart.

    Raises:
        UserError: If there is one class alone.
    """
    if recipe.model.task == "classification" and len(names) < 2:
        where = recipe.data.root or f"the {recipe.data.kind}"
        raise UserError(
            f"{where} has one class alone, {', '.join(names)}, and a classifier of it is always right: give "
            "a folder for each of two or more classes"
        )
    return len(names)


def _check_optimizer(optim: OptimSpec) -> None:
    """Refuse what the optimiser would not read."""
    if optim.optimizer != "adamw" and optim.betas is not None:
        raise UserError(f"optim.betas means nothing to optim.optimizer {optim.optimizer}; leave it out")
    if optim.optimizer in ("sgd", "momentum") and optim.eps is not None:
        raise UserError(f"optim.eps means nothing to optim.optimizer {optim.optimizer}; leave it out")


def _check_run(recipe: Recipe) -> None:
    """Refuse a score that the task does not have, and programs of what is read from kept maps."""
    run, names = recipe.run, score_names(SCORES[recipe.model.task])
    if run.monitor is not None and run.monitor not in names:
        raise UserError(
            f"run.monitor {run.monitor!r} is no score of {recipe.model.task}: give one of {', '.join(names)}"
        )
    if run.compile and recipe.model.frozen:
        raise UserError(
            "run.compile cannot make a program of maps that are read from disk: leave it out, or model.frozen"
        )


def _check_strategy(recipe: Recipe) -> None:
    """Refuse what does not go, or was never tried, with parameters that are cut up."""
    run = recipe.run
    if run.strategy == "ddp":
        return
    if run.devices * run.num_nodes == 1:
        raise UserError(
            "run.strategy fsdp shares a model among processes, and this run has one: give run.devices, or "
            "start it by torchrun; or take run.strategy ddp"
        )
    refused = {
        "run.precision 16-mixed": run.precision == "16-mixed",
        "run.compile": run.compile,
        "run.sync_batchnorm": run.sync_batchnorm,
        "model.frozen": recipe.model.frozen,
    }
    for name, is_set in refused.items():
        if is_set:
            instead = "give bf16-mixed or 32-true" if name.startswith("run.precision") else "leave it out"
            raise UserError(f"{name} does not go with run.strategy fsdp: {instead}, or take run.strategy ddp")


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
    if augment.is_mixing and batch % 2:
        raise UserError(
            f"data.batch_size {recipe.data.batch_size} gives batches of {batch} "
            f"({shares} share(s)), and mixup and cutmix mix pairs; give a multiple of {2 * shares}, "
            "or set augment.mixup and augment.cutmix to 0"
        )
