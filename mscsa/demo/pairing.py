"""Which two models stand side by side, and in what they differ beside MSCSA."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.compare.folder import first_trained_pair
from mscsa.demo.models import ShownModel, load_model, load_shipped
from mscsa.errors import UserError

_OF_MSCSA = ("name", "mscsa", "neck", "neck_kwargs", "budget", "keep_classifier", "freeze")
_OF_START = ("checkpoint", "baseline_checkpoint")
_SAYS = ("name", "paper", "expected", "cost", "starts_from")
# Fields of a recipe that MSCSA itself changes, that say where a model starts from, and that are words alone.


def load_pair(model: str | None, baseline: str | None, *, accelerator: str) -> list[ShownModel]:
    """Load what the page is to show, the model without MSCSA first.

    Args:
        model: Folder of a run, a file of weights, or the folder of a comparison, which stands for both of its
            arms; the shipped classifier if None.
        baseline: The same without MSCSA; with a comparison it is not needed.
    Returns:
        One or two models.
    Raises:
        UserError: If one of them is not usable, or the two do not belong side by side.
    """
    if model is None:
        if baseline is not None:
            raise UserError(f"--baseline {baseline} given alone: name the model with MSCSA before it")
        return [load_shipped(accelerator=accelerator)]
    arms = first_trained_pair(Path(model))
    if arms is not None:
        if baseline is not None:
            raise UserError(f"{model} is a comparison, and has its own baseline: leave --baseline out")
        return [load_model(path, accelerator=accelerator) for path in reversed(arms)]
    shown = load_model(model, accelerator=accelerator)
    if baseline is None:
        return [shown]
    other = load_model(baseline, accelerator=accelerator)
    _check_pair(model, shown, baseline, other)
    return [other, shown]


def _check_pair(model: str, shown: ShownModel, baseline: str, other: ShownModel) -> None:
    """Refuse two models that say different things, or that stand the wrong way round.

    Raises:
        UserError: Says which.
    """
    if other.spec.neck_name is not None:
        raise UserError(f"--baseline {baseline} has {other.spec.neck_name} in it: give a model without MSCSA")
    if shown.spec.neck_name is None:
        raise UserError(f"{model} has no MSCSA, as its baseline has none: give the model with MSCSA first")
    if shown.task != other.task:
        raise UserError(f"{model} is for {shown.task}, {baseline} for {other.task}: give two of one task")
    if shown.loaded.class_names != other.loaded.class_names:
        raise UserError(f"{model} and {baseline} have other classes: give two that were trained on the same")


def differences(one: WeightsInfo, other: WeightsInfo) -> list[str] | None:
    """Name what was otherwise in the training of two models, beside MSCSA.

    Returns:
        Fields of their recipes, such as `optim.lr`; None if a file does not say what it was trained by.
    """
    recipes = [info.provenance.get("recipe") for info in (one, other)]
    if not all(isinstance(each, dict) and "optim" in each for each in recipes):
        return None
    flat = [dict(_flat(each)) for each in recipes if isinstance(each, dict)]
    return [name for name in {**flat[0], **flat[1]} if flat[0].get(name) != flat[1].get(name)]


def _flat(recipe: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part, fields in recipe.items():
        if part in _SAYS or not isinstance(fields, Mapping):
            continue
        for name, value in fields.items():
            if part != "model" or name not in _OF_MSCSA + _OF_START:
                yield f"{part}.{name}", value
