"""Where images, label maps and the names of classes lie."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscsa.data.contract import IGNORED, Split
from mscsa.data.foreign import refuse_foreign
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS, FORMATS

LabelLayout = Literal["masks", "ade20k"]

CLASSES_FILE = "classes.txt"
ADE20K_CLASSES = 150

LABEL_FORMATS = ("PNG", "TIFF", "BMP")
"""Pillow's names of the formats of label maps: those that keep every value."""

_LABEL_EXTENSIONS = tuple(extension for name in LABEL_FORMATS for extension in FORMATS[name])


@dataclass(frozen=True)
class Layout:
    """Where images and labels of a split are."""

    images: str
    labels: str
    folders: dict[Split, str]
    """Split -> name of its folder."""


LAYOUTS: dict[LabelLayout, Layout] = {
    "masks": Layout("images", "labels", {"train": "train", "val": "val"}),
    "ade20k": Layout("images", "annotations", {"train": "training", "val": "validation"}),
}


def segmentation_classes(root: str | Path, layout: LabelLayout) -> list[str]:
    """Name the classes of a data set, in the order of their indices.

    Raises:
        UserError: If `classes.txt` is missing, empty or names a class twice.
    """
    if layout == "ade20k":
        return _ade20k_classes(Path(root))
    refuse_foreign(Path(root))
    path = Path(root) / CLASSES_FILE
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: write the names of the classes into it, one per line, in the order of "
            "their indices"
        ) from error
    if not names or len(names) > IGNORED:
        raise UserError(f"{path} names {len(names)} classes: 1 to {IGNORED} are possible")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UserError(f"{path} names {twice!r} twice: give each class a name of its own")
    return names


def label_pairs(
    root: str | Path, split: Split, layout: LabelLayout
) -> tuple[list[tuple[Path, Path]], list[Path], list[tuple[Path, Path]]]:
    """Pair the images and label maps of a split by their names, subfolders included.

    Returns:
        Pairs (image, label map) in the order of their names; the files that have no partner; and files that
        share a name but for the ending (one that was taken, one that was not).
    Raises:
        UserError: If a folder is missing, or there is no pair.
    """
    refuse_foreign(Path(root))
    place = LAYOUTS[layout]
    folder = place.folders[split]
    images, other_images = _files(Path(root) / place.images / folder, EXTENSIONS)
    labels, other_labels = _files(Path(root) / place.labels / folder, _LABEL_EXTENSIONS)
    pairs = [(images[name], labels[name]) for name in sorted(images.keys() & labels.keys())]
    if not pairs:
        raise UserError(
            f"no image in {Path(root) / place.images / folder} has a label map of its name in "
            f"{Path(root) / place.labels / folder}: give NAME.png for NAME.jpg"
        )
    alone = [images[name] for name in sorted(images.keys() - labels.keys())]
    alone += [labels[name] for name in sorted(labels.keys() - images.keys())]
    return pairs, alone, other_images + other_labels


def _files(folder: Path, extensions: tuple[str, ...]) -> tuple[dict[str, Path], list[tuple[Path, Path]]]:
    """List the files below a folder by their names without extension, and those of a name that is taken."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: give the folder that holds it as data.root")
    found: dict[str, Path] = {}
    doubles = []
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if path.suffix.lower() not in extensions or any(part.startswith(".") for part in place.parts):
            continue
        name = place.with_suffix("").as_posix()
        if name in found:
            doubles.append((found[name], path))
        else:
            found[name] = path
    return found, doubles


def _ade20k_classes(root: Path) -> list[str]:
    """Read the names of ADE20K's 150 classes from its `objectInfo150.txt`, or number them."""
    path = root / "objectInfo150.txt"
    numbered = [f"class {i}" for i in range(1, ADE20K_CLASSES + 1)]
    if not path.exists():
        return numbered
    # Columns: Idx, Ratio, Train, Val, Name (several, by commas).
    rows = [
        line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines()[1:] if line.strip()
    ]
    names = [row[-1].partition(",")[0].strip() for row in rows]
    if len(names) != ADE20K_CLASSES:
        return numbered
    # Two classes are called "screen".
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]
