"""The arms of a comparison: their recipes, and what each is beside MSCSA."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mscsa.compare.results import ARM_NAMES
from mscsa.cost.matched_control import MatchedArm, against_mscsa, count_recipe, matched_control
from mscsa.cost.matched_neck import asked_necks, matched_necks
from mscsa.data.datasets import class_names_of
from mscsa.errors import UserError
from mscsa.neck_table import MSCSA_NECK
from mscsa.recipes.arms import baseline_of, variant_of
from mscsa.recipes.spec import Recipe

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Arms:
    """What is trained, and what tables say of it."""

    recipes: dict[str, Recipe]
    """By arm, in their order."""
    control_note: str
    neck_notes: dict[str, str]
    variant_notes: dict[str, str]


def arms_of(
    recipe: Recipe,
    *,
    with_control: bool,
    necks: Sequence[str],
    variants: Mapping[str, Mapping[str, Any]],
) -> Arms:
    """Find the arms that a recipe is compared with.

    Args:
        recipe: The recipe with MSCSA.
        with_control: Whether a baseline with a wider head is among them.
        necks: Of `mscsa.necks.NECKS`.
        variants: Name -> what is otherwise in MSCSA (`mscsa.recipes.arms.variant_of`).
    Raises:
        UserError: If the recipe has no MSCSA, a neck has no place in it, or a variant is none.
    """
    if recipe.model.neck not in (None, MSCSA_NECK):
        raise UserError(
            f"recipe {recipe.name} with model.neck {recipe.model.neck} in the place of MSCSA: leave it out, "
            f"and give --necks {recipe.model.neck}"
        )
    baseline = baseline_of(recipe)  # refuses what has no MSCSA
    asked = asked_necks(necks)
    counts = with_control or asked or variants
    num_classes = len(class_names_of(recipe.data)) if counts else 0
    control = MatchedArm(None, "No control of the same MACs: it was left out (--no-control).")
    if with_control:
        control = matched_control(recipe, num_classes)
    in_place = matched_necks(recipe, asked, num_classes)
    otherwise = _variants(recipe, variants, num_classes)
    for arm in (control, *in_place.values(), *otherwise.values()):
        logger.info(arm.note)
    beside = {"control": control, **in_place, **otherwise}
    return Arms(
        recipes={
            "baseline": baseline,
            **{name: arm.recipe for name, arm in beside.items() if arm.recipe is not None},
            "mscsa": recipe,
        },
        control_note=control.note,
        neck_notes={name: arm.note for name, arm in in_place.items()},
        variant_notes={name: arm.note for name, arm in otherwise.items()},
    )


def _variants(
    recipe: Recipe, variants: Mapping[str, Mapping[str, Any]], num_classes: int
) -> dict[str, MatchedArm]:
    """Build each variant once, on paper, so that what cannot be built is refused before anything is trained.

    Raises:
        UserError: If a name is taken or no name of a folder, or a variant's fields are none of MSCSA's.
    """
    target = count_recipe(recipe, num_classes) if variants else 0
    found = {}
    for name, fields in variants.items():
        if name in ARM_NAMES or not re.fullmatch(r"[a-z0-9][a-z0-9_-]*", name):
            raise UserError(
                f"a variant is called {name!r}: give small letters, digits, - and _, and none of "
                f"{', '.join(ARM_NAMES)}"
            )
        if not isinstance(fields, Mapping) or not fields:
            raise UserError(
                f"variant {name} is {fields!r}: give what is otherwise, such as {{parallel_conv: false}}"
            )
        other = variant_of(recipe, fields)
        try:
            macs = count_recipe(other, num_classes)
        except ValueError as error:
            raise UserError(f"variant {name}: {error}") from error
        shown = ", ".join(f"{field} {value}" for field, value in fields.items())
        found[name] = MatchedArm(other, f"{name}: {shown}; {against_mscsa(macs, target)}.")
    return found
