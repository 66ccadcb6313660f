"""The numbers and names of COCO's lists as training reads them, so that a check sees what training sees."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from mscsa.data.coco.values import flag, number, whole_number
from mscsa.data.texts import composed


def _name(value: Any) -> str | None:
    return composed(value) if isinstance(value, str) else None


_READERS: dict[str, dict[str, Callable[[Any], Any]]] = {
    "images": {"id": whole_number, "width": whole_number, "height": whole_number},
    "annotations": {
        "id": whole_number,
        "image_id": whole_number,
        "category_id": whole_number,
        "iscrowd": flag,
        "area": number,
    },
    "categories": {"id": whole_number, "name": _name, "supercategory": _name, "flip_to": _name},
}


def normalise(part: str, entries: Sequence[dict[str, Any]]) -> None:
    """Write 1 for 1.0, "1" and the like, and composed names, in the entries of a list, in their place.

    What training cannot read is left as it is, to be told of as it was given.

    Args:
        part: `images`, `annotations` or `categories`.
        entries: Those of the list; only what is written otherwise is touched.
    """
    for key, read in _READERS[part].items():
        for entry in entries:
            if type(entry.get(key, 0)) is not int:
                entry[key] = _read(entry[key], read)
    if part == "annotations":
        for entry in entries:
            box = entry.get("bbox")
            if type(box) is list and any(type(value) is str for value in box):
                entry["bbox"] = [_read(value, number) if type(value) is str else value for value in box]


def _read(value: Any, read: Callable[[Any], Any]) -> Any:
    """Read a value, or give it back where it is none."""
    found = read(value)
    if found is None or (type(found) is float and math.isnan(found)):
        return value
    return int(found) if type(found) is bool else found
