"""The two halves of a data set: what tools call them, and which images are val where nothing says it."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from mscsa.data.contract import Split
from mscsa.data.texts import composed

logger = logging.getLogger(__name__)

VAL_SHARE = 0.2
"""Share of the images that is val where one folder holds both splits."""

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training", "train2017"),
    "val": ("val", "valid", "validation", "val2017"),
}
"""What tools call the two splits, as folders and in lists."""


def side_of(folders: str) -> str | None:
    """Say of which split a file is by its folders: the last that is called as one, or `test`; else None."""
    for word in reversed(folders.replace("\\", "/").lower().split("/")):
        for split, names in SPLIT_NAMES.items():
            if word in names:
                return split
        if word == "test":
            return "test"
    return None


def val_names(names: Iterable[str]) -> set[str]:
    """Choose the names that are val: those whose hash is in the lowest fifth.

    So an image stays in its split whatever is added, removed, or moved elsewhere. Only of a few names, all of
    whose hashes are on one side, the nearest one changes sides: one at least is val if there are two, and
    not all.
    """
    shares = {name: _share(name) for name in names}
    ordered = sorted(shares, key=lambda name: (shares[name], name))
    count = sum(share < VAL_SHARE for share in shares.values())
    return set(ordered[: max(min(max(count, 1), len(ordered) - 1), 0)])


def of_split(names: Iterable[str], split: Split) -> set[str]:
    """Choose the names of a split, of those of both."""
    known = set(names)
    val = val_names(known)
    return val if split == "val" else known - val


@cache
def tell_division(root: Path, what: str = "images") -> None:
    """Say once how a data set is divided."""
    logger.info(
        "%s has no train and val of its own: %.0f %% of the %s, by a hash of their names, are val, the same "
        "ones in every run",
        root,
        100 * VAL_SHARE,
        what,
    )


def _share(name: str) -> float:
    """Map a name to 0..1, evenly and on every machine the same."""
    digest = hashlib.sha256(composed(name).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
