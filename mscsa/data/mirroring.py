"""What a mirror image makes of classes that say left and right."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from pathlib import Path

from mscsa.data.problems import Problem, some_of
from mscsa.data.texts import composed
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

_SIDES = {"left": "right", "right": "left"}
_WORDS = re.compile(r"left|right", re.IGNORECASE)


def mirrored_classes(class_names: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[int]:
    """Give the place of the class that each class is in a mirror image, K.

    Raises:
        UserError: If a pair names something else than two classes, or a class is in two pairs.
    """
    places = {composed(name): i for i, name in enumerate(class_names)}
    mirrored = list(range(len(class_names)))
    for pair in _composed(pairs):
        unknown = [name for name in pair if name not in places]
        if len(pair) != 2 or unknown:
            raise UserError(
                f"augment.flip_pairs, or flip_to of the data, has {pair}: give two of the classes "
                f"{some_of(list(class_names), 12)}"
            )
        one, other = (places[name] for name in pair)
        if mirrored[one] not in (one, other) or mirrored[other] not in (one, other):
            raise UserError(
                f"augment.flip_pairs, or flip_to of the data: {' or '.join(pair)} is in two pairs: give each "
                "class once"
            )
        mirrored[one], mirrored[other] = other, one
    return mirrored


def sided_pairs(class_names: Sequence[str]) -> list[tuple[str, str]]:
    """Find the classes whose names differ in left and right alone."""
    known = set(class_names)
    return [
        (name, other)
        for name in class_names
        if "left" in name.lower() and (other := _other_side(name)) in known and other != name
    ]


def mirror_warning(
    class_names: Sequence[str], pairs: Sequence[Sequence[str]], *, can_swap: bool = True
) -> str | None:
    """Say that mirror images contradict the names of classes, where no pairs are given; None if they do not.

    Args:
        pairs: Those that are swapped.
        can_swap: Whether a training can swap them; otherwise it can only do without mirror images.
    """
    open_pairs = _open_pairs(class_names, pairs)
    if not open_pairs:
        return None
    remedy = "train without them (--augment.hflip 0)"
    if can_swap:
        remedy += f", or swap them ({_flip_pairs_option(open_pairs)})"
    return f"{_contradiction(open_pairs)}: {remedy}"


def flip_warning(class_names: Sequence[str], pairs: Sequence[Sequence[str]]) -> str | None:
    """Say as `mirror_warning` does of a trained model that is asked about mirror images; None if all is well.

    Args:
        pairs: Those that are swapped.
    """
    open_pairs = _open_pairs(class_names, pairs)
    if not open_pairs:
        return None
    return (
        f"{_contradiction(open_pairs)}: leave --flip out, or let the training swap them "
        f"({_flip_pairs_option(open_pairs)})"
    )


def mirror_note(path: str | Path, warning: str) -> Problem:
    """Make a note of a warning, for `mscsa check-data`."""
    what, _, remedy = warning.partition(": ")
    return Problem(str(path), what, remedy, is_note=True)


def _open_pairs(class_names: Sequence[str], pairs: Sequence[Sequence[str]]) -> list[tuple[str, str]]:
    """Find the classes that their names pair and `pairs` do not."""
    swapped = {name for pair in _composed(pairs) for name in pair}
    return [pair for pair in sided_pairs(class_names) if not set(map(composed, pair)) <= swapped]


def _composed(pairs: Sequence[Sequence[str]]) -> list[list[str]]:
    return [list(map(composed, pair)) for pair in pairs]


def _contradiction(open_pairs: Sequence[tuple[str, str]]) -> str:
    shown = some_of([f"{one} and {other}" for one, other in open_pairs], 3)
    return f"mirror images make no other class of {shown}, though their names say left and right"


def _flip_pairs_option(pairs: Sequence[tuple[str, str]]) -> str:
    listed = ",".join(f"[{one},{other}]" for one, other in pairs)
    return f"--augment.flip_pairs '[{listed}]'"


def _other_side(name: str) -> str:
    """Write right for left and left for right, in the letters that they had."""

    def swap(match: re.Match[str]) -> str:
        word = match[0]
        other = _SIDES[word.lower()]
        if word.isupper():
            return other.upper()
        return other.capitalize() if word[0].isupper() else other

    return _WORDS.sub(swap, name)
