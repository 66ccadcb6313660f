"""One split of a set of objects, whatever its layout: where it lies, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mscsa.data.coco.annotations import CocoAnnotations, compact_annotations, read_annotations, read_json
from mscsa.data.coco.conversion import Conversion
from mscsa.data.coco.values import whole_number
from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES, of_split
from mscsa.data.places import in_any_case

COCO_FILES = (
    "annotations/instances_{name}.json",  # COCO, Ultralytics
    "annotations/{name}.json",
    "{name}/_annotations.coco.json",  # Roboflow
)
"""Where COCO's file of a split lies."""

_WHOLE_FILES = (
    "annotations/instances_default.json",  # CVAT
    "result.json",  # Label Studio
    "_annotations.coco.json",
    "annotations/instances.json",
    "annotations/annotations.json",
    "annotations.json",
    "instances.json",
)


@dataclass(frozen=True)
class ObjectSplit:
    """Where images and objects of a split lie, and how the objects are read."""

    layout: str
    """What its layout is called, for people."""
    file: Path
    """The file of annotations, or the one that says which images there are: what messages name."""
    folder: Path
    """What the names of images are relative to."""
    convert: Callable[[], Conversion] | None = None
    """What reads a layout that is not COCO's; `file` is in COCO's format if None."""
    names: tuple[str, ...] = ()
    """The classes of such a layout, in the order of their labels."""
    label_files: tuple[Path, ...] = ()
    """The files of such a layout that name its objects, of those that are there."""
    part: Split | None = None
    """Which split of a file that holds the images of both; None if it has one alone."""

    def files(self) -> tuple[Path, ...]:
        """Give all files that say what the objects are."""
        return tuple(path for path in (self.file, *self.label_files) if path.is_file())

    def class_names(self) -> list[str]:
        """Name the classes, in the order of their labels."""
        return list(self.names or read_annotations(self.file).category_names)

    def read(self, max_bad: int = 0) -> CocoAnnotations:
        """Read the objects for training.

        Args:
            max_bad: Images that may be unreadable, in layouts that take their sizes from them.
        Raises:
            UserError: If they cannot be used; `mscsa check-data` finds all that is wrong.
        """
        if self.part is not None:
            return compact_annotations(part_of(read_json(self.file), self.part), self.file)
        if self.convert is None:
            return read_annotations(self.file)
        found = self.convert()
        annotations = compact_annotations(found.usable(max_bad), self.file)
        return replace(annotations, unreadable_ids=found.unreadable_ids)


def annotation_files(root: Path, split: Split) -> Iterator[tuple[str, Path]]:
    """Give the name of a split and its file of annotations in COCO's format, of those that are there."""
    pairs = [(pattern, name) for pattern in COCO_FILES for name in SPLIT_NAMES[split]]
    files = in_any_case(root, (pattern.format(name=name) for pattern, name in pairs))
    for (_, name), file in zip(pairs, files, strict=True):
        if file.is_file():
            yield name, file


def whole_file(root: Path) -> Path | None:
    """Find the file in COCO's format that holds the images of both splits."""
    return next((root / name for name in _WHOLE_FILES if (root / name).is_file()), None)


def has_coco(root: Path) -> bool:
    """Whether a folder holds a file in COCO's format, by its name."""
    return whole_file(root) is not None or any(
        True for split in SPLIT_NAMES for _ in annotation_files(root, split)
    )


def part_of(content: dict[str, Any], split: Split) -> dict[str, Any]:
    """Keep the images of a split, by a hash of their names, and their annotations.

    Annotations of no image stay with train, so that they are found once.
    """
    images, annotations = content["images"], content["annotations"]
    texts = {id(each): str(each.get("file_name")).replace("\\", "/") for each in images if _is_object(each)}
    kept = of_split(texts.values(), split)
    others = {_id(each, "id") for each in images if _is_object(each) and texts[id(each)] not in kept}
    own = {_id(each, "id") for each in images if _is_object(each) and texts[id(each)] in kept}
    return {
        **content,
        "images": [each for each in images if _is_object(each) and texts[id(each)] in kept],
        "annotations": [
            each
            for each in annotations
            if _is_object(each)
            and ((image := _id(each, "image_id")) in own or (split == "train" and image not in others))
        ],
    }


def _id(entry: dict[str, Any], key: str) -> int | str:
    """Give an id as training reads it, 1 for 1.0 and "1"; what is no whole number stands for itself alone."""
    value = entry.get(key)
    number = value if type(value) is int else whole_number(value)
    return repr(value) if number is None else number


def _is_object(entry: Any) -> bool:
    return isinstance(entry, dict)
