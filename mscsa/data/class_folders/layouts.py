"""Where the class folders of a split lie: below a folder of its own, or with those of the other split."""

from __future__ import annotations

import hashlib
import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mscsa.data.contract import Split
from mscsa.data.foreign import refuse_foreign
from mscsa.data.problems import some_of
from mscsa.data.walking import files_within, visible_entries
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS

logger = logging.getLogger(__name__)

VAL_SHARE = 0.2
"""Share of each class that is val where one folder holds both splits."""

_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid", "validation")}


@dataclass(frozen=True)
class ClassSplit:
    """One split of images in class folders."""

    split: Split
    folder: Path
    """What holds the class folders."""
    is_divided: bool
    """Whether they hold both splits: which image is which then follows from its name."""

    def class_names(self) -> list[str]:
        """Return the names of the class folders, sorted.

        Raises:
            UserError: If there is none, or the folder cannot be read.
        """
        names = sorted(entry.name for entry in visible_entries(self.folder) if entry.is_dir())
        if not names:
            raise UserError(f"{self.folder}: no class folders; images are expected in {self.folder}/CLASS/")
        return names

    def images(self, name: str) -> list[str]:
        """Return the paths of the split's images in a class folder and the folders within it, sorted.

        A dangling link counts: reading it then fails by name instead of losing it silently.

        Raises:
            UserError: If the folder is missing or cannot be read.
        """
        found = sorted(entry.path for entry in files_within(self.folder / name) if _is_image(entry))
        if not self.is_divided:
            return found
        named = {Path(path).relative_to(self.folder).as_posix(): path for path in found}
        is_val = _val_names(named)
        return [path for each, path in named.items() if (each in is_val) == (self.split == "val")]


def find_classes(root: str | Path, split: Split) -> ClassSplit:
    """Find the class folders of a split: in ROOT/train and ROOT/val (or valid, validation), or all in ROOT.

    In the latter case a fifth of each class is val: the images whose hash, by the names of class and file,
    is in the lowest fifth. So an image stays in its split whatever is added, removed, or moved elsewhere;
    only in a class of a few images, all of whose hashes are on one side, the nearest one changes sides.

    Raises:
        UserError: If they are not there.
    """
    root = Path(root)
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"{root}: no such folder{here}; give the one with train/ and val/ as data.root, or --root of eval"
        )
    folder = next((root / name for name in _NAMES[split] if (root / name).is_dir()), None)
    if folder is not None:
        return ClassSplit(split, folder, is_divided=False)
    refuse_foreign(root)
    if not any((root / name).is_dir() for names in (*_NAMES.values(), ("test",)) for name in names):
        is_class = [entry.is_dir() and _holds_images(Path(entry.path)) for entry in visible_entries(root)]
        if sum(is_class) > 1:
            _tell_division(root)
            return ClassSplit(split, root, is_divided=True)
    raise UserError(
        f"{root}: no folder {split}/; images are expected in {split}/CLASS/ beneath it, or give the one "
        "folder that holds the class folders, to have it divided"
    )


def class_difference(train: Iterable[str], val: Iterable[str]) -> str | None:
    """Say which classes only one split has, or return None where they agree."""
    only_train, only_val = set(train) - set(val), set(val) - set(train)
    parts = [
        f"only {split}/ has {quoted(names)}"
        for split, names in (("train", only_train), ("val", only_val))
        if names
    ]
    return " and ".join(parts) or None


def left_out(folders: Iterable[Path]) -> str | None:
    """Say how many visible files in class folders are no images by their extension; None where all are.

    Raises:
        UserError: If a folder cannot be read.
    """
    others = [entry.name for folder in folders for entry in files_within(folder) if not _is_image(entry)]
    if not others:
        return None
    kinds = Counter(Path(name).suffix.lower() or "no extension" for name in others)
    counted = some_of([f"{count} {kind}" for kind, count in kinds.most_common()])
    return f"{len(others)} files are left out, which are no images by their names ({counted})"


def quoted(names: Iterable[str]) -> str:
    """List names in quotes, the first of them if there are many."""
    return some_of([repr(name) for name in sorted(names)])


@cache
def _tell_division(root: Path) -> None:
    """Say once how a folder is divided."""
    logger.info(
        "%s has no train/ and val/: %.0f %% of the images of each class, by a hash of their names, are val, "
        "the same ones in every run",
        root,
        100 * VAL_SHARE,
    )


def _val_names(files: Iterable[str]) -> set[str]:
    """Choose the files of a class that are val: one at least if there are two, and not all."""
    shares = {name: _share(name) for name in files}
    ordered = sorted(shares, key=lambda name: (shares[name], name))
    count = sum(share < VAL_SHARE for share in shares.values())
    return set(ordered[: max(min(max(count, 1), len(ordered) - 1), 0)])


def _share(name: str) -> float:
    """Map a name to 0..1, evenly and on every machine the same."""
    digest = hashlib.sha256(unicodedata.normalize("NFC", name).encode(errors="surrogateescape")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS)


def _holds_images(folder: Path) -> bool:
    """Whether images lie directly in a folder: a folder of data sets is none of classes."""
    return any(_is_image(entry) and not entry.is_dir() for entry in visible_entries(folder))
