"""Where the class folders of a split lie: below a folder of its own, or with those of the other split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from mscsa.data.class_folders.listed import find_listed
from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES, of_split, tell_division
from mscsa.data.foreign import is_split, refuse_foreign, unknown_layout
from mscsa.data.label_maps.folders import IMAGES, LABELS
from mscsa.data.places import in_any_case
from mscsa.data.problems import Problem, some_of
from mscsa.data.texts import composed
from mscsa.data.walking import files_within, visible_entries
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS, is_image


class ClassSource(Protocol):
    """One split of images, by class."""

    @property
    def place(self) -> Path:
        """What messages name: a folder, or a table."""

    @property
    def is_divided(self) -> bool:
        """Whether nothing but the names of the images tells the splits apart."""

    def class_names(self) -> list[str]:
        """Name the classes, in the order of their labels."""

    def images(self, name: str) -> list[str]:
        """Return the paths of the split's images of a class, sorted."""

    def describe(self, name: str) -> str:
        """Say where a class is, for messages."""

    def left_out(self, names: Iterable[str]) -> str | None:
        """Say how many visible files of classes are no images by their extension; None where all are."""

    def files(self) -> tuple[Path, ...]:
        """Give the files that say what the classes are."""


def without_images(where: ClassSource, name: str, split: Split) -> Problem:
    """Describe a class that has no image in a split."""
    if where.is_divided:
        what, remedy = f"class without images in {split}", "give it two images or more, or remove it"
    else:
        what, remedy = "class without images", f"add some ({', '.join(EXTENSIONS)}) or remove it"
    return Problem(where.describe(name), what, remedy)


@dataclass(frozen=True)
class ClassSplit:
    """One split of images in class folders."""

    split: Split
    folder: Path
    """What holds the class folders."""
    is_divided: bool
    """Whether they hold both splits: which image is which then follows from its name."""

    def class_names(self) -> list[str]:
        """Return the names of the class folders, composed and sorted.

        Raises:
            UserError: If there is none, or the folder cannot be read.
        """
        names = sorted(self._folders)
        if not names:
            raise UserError(f"{self.folder}: no class folders; images are expected in {self.folder}/CLASS/")
        return names

    @cached_property
    def _folders(self) -> dict[str, list[Path]]:
        """Class folders by their composed names, of which a disk may hold several spellings."""
        found: dict[str, list[Path]] = {}
        for entry in sorted(visible_entries(self.folder), key=lambda entry: entry.name):
            if entry.is_dir():
                found.setdefault(composed(entry.name), []).append(Path(entry.path))
        return found

    def _folders_of(self, name: str) -> list[Path]:
        return self._folders.get(composed(name), [self.folder / name])

    def images(self, name: str) -> list[str]:
        """Return the paths of the split's images in a class folder and the folders within it, sorted.

        A dangling link counts: reading it then fails by name instead of losing it silently.

        Raises:
            UserError: If the folder is missing or cannot be read.
        """
        files = [entry for folder in self._folders_of(name) for entry in files_within(folder)]
        found = sorted(entry.path for entry in files if is_image(entry.name))
        if not self.is_divided:
            return found
        named = {Path(path).relative_to(self.folder).as_posix(): path for path in found}
        own = of_split(named, self.split)
        return [path for each, path in named.items() if each in own]

    @property
    def place(self) -> Path:
        """What messages name."""
        return self.folder

    def describe(self, name: str) -> str:
        """Say where a class is, for messages."""
        return str(self._folders_of(name)[0])

    def left_out(self, names: Iterable[str]) -> str | None:
        """Say how many visible files in class folders are no images by their extension; None where all are.

        Raises:
            UserError: If a folder cannot be read.
        """
        folders = [folder for name in names for folder in self._folders_of(name)]
        files = (entry.name for folder in folders for entry in files_within(folder))
        others = [name for name in files if not is_image(name)]
        if not others:
            return None
        kinds = Counter(Path(name).suffix.lower() or "no extension" for name in others)
        counted = some_of([f"{count} {kind}" for kind, count in kinds.most_common()])
        return f"{len(others)} files are left out, which are no images by their names ({counted})"

    def files(self) -> tuple[Path, ...]:
        """Give the files that say what the classes are: there are none."""
        return ()


def find_classes(root: str | Path, split: Split) -> ClassSource:
    """Find the images of a split by class: in ROOT/train and ROOT/val (or valid, validation), or all in ROOT.

    Upper and lower case of the splits' folders do not matter; those of these very names come first.
    Instead of folders, a table may name the classes (`mscsa.data.class_folders.listed`). Where nothing tells
    the splits apart, a fifth of each class is val (`mscsa.data.division.val_names`).

    Raises:
        UserError: If they are not there.
    """
    root = Path(root)
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"{root}: no such folder{here}; give the one with train/ and val/ as data.root, or --root of eval"
        )
    folder = split_folder(root, split)
    if folder is not None and _holds_classes(folder):
        return ClassSplit(split, folder, is_divided=False)
    listed = find_listed(root, split)
    if listed is not None:
        return listed
    refuse_foreign(root, "classification")
    if folder is not None:
        return ClassSplit(split, folder, is_divided=False)
    if not any(split_folder(root, each) for each in SPLIT_NAMES) and not (root / "test").is_dir():
        _refuse_unclear_splits(root)
        classes = [path for path in _folders(root) if _holds_images(path)]
        if len(classes) > 1 and not all(map(is_split, classes)):
            tell_division(root, "images of each class")
            return ClassSplit(split, root, is_divided=True)
        raise unknown_layout(root, "classification")
    raise UserError(
        f"{root}: no folder {split}/; images are expected in {split}/CLASS/ beneath it, or give the one "
        "folder that holds the class folders, to have it divided"
    )


def split_folder(root: Path, split: Split) -> Path | None:
    """Find the folder of a split, in any case; in other capitals it has to hold classes, as Train may be one.

    One that does is a class all the same, or nobody knows, where it is the only split among several folders
    of images.
    """
    names = SPLIT_NAMES[split]
    there = [place for place in in_any_case(root, names) if place.is_dir()]
    exact = [place for place in there if place.name in names]
    holding = [place for place in there if _holds_classes(place)]
    if exact or not holding:
        return next(iter(exact), None)
    beside = _folders(root)
    is_alone = sum(map(is_split, beside)) == 1
    return None if is_alone and len(_folders_of_images(beside)) > 1 else holding[0]


def _refuse_unclear_splits(root: Path) -> None:
    """Refuse what may be no class: a folder called as a split, with several classes and no image in it."""
    beside = [path.name for path in _folders_of_images(_folders(root))]
    for place in in_any_case(root, [name for names in SPLIT_NAMES.values() for name in names]):
        if len(beside) < 2 or not place.is_dir() or _holds_images(place):
            continue
        if sum(any(is_image(entry.name) for entry in files_within(path)) for path in _folders(place)) > 1:
            raise UserError(
                f"{place} holds folders of images, and so does {root} ({quoted(beside)}): name it "
                f"{place.name.lower()} if it is the split, or else put its images into one folder"
            )


def _folders_of_images(folders: Iterable[Path]) -> list[Path]:
    """Choose those that hold images directly and are called as no split."""
    return [path for path in folders if not is_split(path) and _holds_images(path)]


def class_difference(train: Iterable[str], val: Iterable[str]) -> str | None:
    """Say which classes only one split has, or return None where they agree."""
    only_train, only_val = set(train) - set(val), set(val) - set(train)
    parts = [
        f"only {split}/ has {quoted(names)}"
        for split, names in (("train", only_train), ("val", only_val))
        if names
    ]
    return " and ".join(parts) or None


def quoted(names: Iterable[str]) -> str:
    """List names in quotes, the first of them if there are many."""
    return some_of([repr(name) for name in sorted(names)])


def _folders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in visible_entries(folder) if entry.is_dir()]


def _holds_classes(folder: Path) -> bool:
    """Whether a folder holds class folders, and not those of images and their labels."""
    return bool({path.name.lower() for path in _folders(folder)} - {*IMAGES, *LABELS})


def _holds_images(folder: Path) -> bool:
    """Whether images lie directly in a folder: a folder of data sets is none of classes."""
    return any(is_image(entry.name) and not entry.is_dir() for entry in visible_entries(folder))
