"""One split of a set of objects, whatever its layout: where it lies, and how it is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mscsa.data.coco.annotations import CocoAnnotations, compact_annotations, read_annotations
from mscsa.data.coco.conversion import Conversion
from mscsa.data.contract import Split

SPLIT_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "train2017"),
    "val": ("val", "val2017", "valid", "validation"),
}
"""What tools call the two splits."""


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

    def files(self) -> tuple[Path, ...]:
        """Give all files that say what the objects are."""
        return tuple(path for path in (self.file, *self.label_files) if path.is_file())

    def class_names(self) -> list[str]:
        """Name the classes, in the order of their labels."""
        return list(self.names or read_annotations(self.file).category_names)

    def read(self) -> CocoAnnotations:
        """Read the objects for training.

        Raises:
            UserError: If they cannot be used; `mscsa check-data` finds all that is wrong.
        """
        if self.convert is None:
            return read_annotations(self.file)
        return compact_annotations(self.convert().usable(), self.file)
