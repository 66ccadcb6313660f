"""Objects that another layout holds, as the content of a COCO file, and what of them cannot be used."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mscsa.errors import UserError

logger = logging.getLogger(__name__)

Box = tuple[float, float, float, float]
"""x, y, width, height in pixels."""


@dataclass(frozen=True)
class Flaw:
    """One thing in a file of labels that cannot be used."""

    kind: str
    """A few words that stand for all of its kind."""
    path: Path
    what: str
    """What is wrong, and where in the file."""
    remedy: str
    is_left_out: bool
    """Whether training goes on without it; otherwise it is refused."""


class Conversion:
    """Images, objects and categories of one split, gathered from any layout.

    Args:
        class_names: In the order of their labels; the ids of the categories are 1..K.
    """

    def __init__(self, class_names: Sequence[str]) -> None:
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []
        self.categories = [{"id": i, "name": name} for i, name in enumerate(class_names, start=1)]
        self.flaws: list[Flaw] = []
        self._unreadable: dict[int, Flaw] = {}  # by the id of the image

    def add_image(self, file_name: str, size: tuple[int, int]) -> None:
        """Add an image of (W, H) px; objects that follow are its."""
        width, height = size
        image = {"id": len(self.images) + 1, "file_name": file_name, "width": width, "height": height}
        self.images.append(image)

    def add_unreadable(self, file_name: str, path: Path, what: str, remedy: str) -> None:
        """Add an image whose size cannot be known; it has a place among the images, and no objects."""
        self.add_image(file_name, (1, 1))
        self.add_flaw("unreadable images", path, what, remedy)
        self._unreadable[len(self.images)] = self.flaws[-1]

    @property
    def unreadable_ids(self) -> tuple[int, ...]:
        """Ids of the images whose sizes are not known."""
        return tuple(self._unreadable)

    @property
    def readable_images(self) -> list[dict[str, Any]]:
        """The images whose sizes are known."""
        return [each for each in self.images if each["id"] not in self._unreadable]

    def add_object(
        self, label: int, box: Box, polygon: Sequence[float] | None = None, *, is_crowd: bool = False
    ) -> None:
        """Add an object of the last image.

        Args:
            label: Place of its class, from 0.
            box: x, y, width, height in pixels, with an area.
            polygon: x1, y1, x2, y2, ... in pixels, if it has an outline.
            is_crowd: Whether it neither counts as an object nor as none.
        """
        area = _area(polygon) if polygon else 0.0
        annotation: dict[str, Any] = {
            "id": len(self.annotations) + 1,
            "image_id": len(self.images),
            "category_id": label + 1,
            "bbox": list(box),
            "area": area if area > 0 else box[2] * box[3],
            "iscrowd": int(is_crowd),
        }
        if polygon:
            annotation["segmentation"] = [list(polygon)]
        self.annotations.append(annotation)

    def add_flaw(
        self, kind: str, path: Path, what: str, remedy: str = "correct it", *, is_left_out: bool = False
    ) -> None:
        """Add what cannot be used."""
        self.flaws.append(Flaw(kind, path, what, remedy, is_left_out))

    def usable(self, max_bad: int = 0) -> dict[str, Any]:
        """Give the content of a COCO file for training, and say once of each kind what is left out.

        Args:
            max_bad: Images that may be unreadable: so many stay among the images, and reading them tells.
        Raises:
            UserError: If something is wrong that is not to be left out.
        """
        allowed = list(self._unreadable.values()) if len(self._unreadable) <= max_bad else []
        refused = [flaw for flaw in self.flaws if not flaw.is_left_out and flaw not in allowed]
        if refused:
            first = refused[0]
            more = f" (the first of {len(refused)} faults: `mscsa check-data` lists them)"
            raise UserError(f"{first.path}: {first.what}; {first.remedy}{more if len(refused) > 1 else ''}")
        left_out = [flaw for flaw in self.flaws if flaw not in allowed]
        for kind in dict.fromkeys(flaw.kind for flaw in left_out):
            alike = [flaw for flaw in left_out if flaw.kind == kind]
            what = "%s: %s; %s: left out, %d in all"
            logger.warning(what, alike[0].path, alike[0].what, kind, len(alike))
        return {"images": self.images, "annotations": self.annotations, "categories": self.categories}


def _area(polygon: Sequence[float]) -> float:
    """Give the area of a polygon x1, y1, x2, y2, ... that does not cross itself."""
    x, y = np.asarray(polygon, np.float64).reshape(-1, 2).T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
