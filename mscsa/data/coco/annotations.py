"""A file of COCO annotations: where it lies, and read once into arrays that worker processes share."""

from __future__ import annotations

import gc
import json
import logging
import marshal
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.contract import Split
from mscsa.data.problems import some_of
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

ANNOTATIONS = "annotations"

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train", "train2017"), "val": ("val", "val2017")}


@dataclass(frozen=True)
class CocoAnnotations:
    """A file of annotations, as far as training needs it.

    Arrays instead of an object for each annotation: worker processes share them as they are, where every
    access to a Python object would copy its page of memory.
    """

    category_ids: tuple[int, ...]
    """In ascending order; label i + 1 is the i-th."""
    category_names: tuple[str, ...]
    image_ids: NDArray[np.int64]
    """In the order of the file, (M,)."""
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    """Height and width in pixels, (M, 2)."""
    starts: NDArray[np.int64]
    """Where the annotations of image i begin, (M + 1,)."""
    annotation_ids: NDArray[np.int64]
    """By image, (A,)."""
    boxes: NDArray[np.float32]
    """x1, y1, x2, y2 in pixels, clipped to the image, (A, 4)."""
    labels: NDArray[np.int64]
    """1..K, (A,)."""
    segmentations: NDArray[np.uint8]
    """All segmentations, serialised one after the other."""
    segmentation_starts: NDArray[np.int64]
    """Where that of annotation j begins, (A + 1,); of length 0 where there is none."""

    def segmentation(self, annotation: int) -> Any:
        """Give a segmentation as the file has it; None where it has none."""
        first, last = self.segmentation_starts[annotation : annotation + 2]
        return marshal.loads(self.segmentations[first:last].tobytes()) if last > first else None


def split_files(root: str | Path, split: Split) -> tuple[Path, Path]:
    """Find the annotations and the folder of images of a split.

    Raises:
        UserError: If they are not there.
    """
    for name in _SPLIT_NAMES[split]:
        file, folder = Path(root) / ANNOTATIONS / f"instances_{name}.json", Path(root) / name
        if file.is_file():
            if not folder.is_dir():
                raise UserError(f"{folder} is not there: put the images of {file} into it")
            return file, folder
    raise UserError(
        f"{Path(root) / ANNOTATIONS / f'instances_{split}.json'} is not there: give the folder that holds "
        f"{ANNOTATIONS}/ and the images as data.root"
    )


def image_path(folder: Path, file_name: str) -> Path:
    """Find an image's file: `file_name` is relative to the split's folder, or to the one around it."""
    path, around = folder / file_name, folder.parent / file_name
    # Not `Path.is_file`, which raises for names that no file can have.
    return path if os.path.isfile(path) or not os.path.isfile(around) else around


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep Python from looking for cycles, of which JSON has none, among millions of new objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of annotations.

    Raises:
        UserError: If it is not JSON, or lacks one of COCO's lists.
    """
    try:
        with paused_collector():
            content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; replace it") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in parts):
        raise UserError(f"{path} is not in COCO's format: give lists {', '.join(parts)}")
    return content


def read_annotations(path: Path) -> CocoAnnotations:
    """Read a file of annotations for training; a file that has not changed is read once.

    Raises:
        UserError: If it is not COCO's format; `mscsa check-data` finds all that is wrong.
    """
    return _read_annotations(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read_annotations(path: Path, _changed: int) -> CocoAnnotations:
    content = read_json(path)
    try:
        with paused_collector():
            return _compact(content, path)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is not in COCO's format ({type(error).__name__}: {error}): `mscsa check-data` says where"
        ) from error


def _compact(content: dict[str, Any], path: Path) -> CocoAnnotations:
    categories = sorted((int(each["id"]), str(each["name"])) for each in content["categories"])
    ids, names = zip(*categories, strict=True) if categories else ((), ())
    for values, what in ((ids, "id"), (names, "name")):
        twice = next((value for i, value in enumerate(values) if value in values[:i]), None)
        if twice is not None:
            raise UserError(f"{path} has two categories of {what} {twice!r}: give each its own")
    if not categories:
        raise UserError(f"{path} has no categories: name the classes there")
    images = content["images"]
    image_ids = np.array([each["id"] for each in images], np.int64)
    known, counts = np.unique(image_ids, return_counts=True)
    if (counts > 1).any():
        raise UserError(f"{path} has two images of id {known[counts > 1][0]}: give each its own")
    sizes = np.array([(each["height"], each["width"]) for each in images], np.int64).reshape(-1, 2)
    annotations = [each for each in content["annotations"] if not each.get("iscrowd")]
    image_of = _places([each["image_id"] for each in annotations], image_ids, "image_id", path)
    labels = 1 + _places([each["category_id"] for each in annotations], np.array(ids), "category_id", path)
    annotation_ids = np.array([each["id"] for each in annotations], np.int64)
    boxes = np.array([each["bbox"] for each in annotations], np.float64).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    boxes = boxes.clip(0, np.tile(sizes[image_of][:, ::-1], 2))
    has_area = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)  # False for NaN too
    if not has_area.all():
        left_out = annotation_ids[~has_area]
        logger.warning(
            "%s: %d objects whose box has no area inside the image are left out (annotation %s)",
            path,
            len(left_out),
            some_of(list(map(str, left_out.tolist()))),
        )
    order = np.flatnonzero(has_area)
    order = order[np.argsort(image_of[order], kind="stable")]
    # What JSON can hold, which marshal writes and reads fastest; the bytes never leave this process.
    texts = [_serialise(annotations[i].get("segmentation")) for i in order]
    return CocoAnnotations(
        category_ids=ids,
        category_names=names,
        image_ids=image_ids,
        file_names=tuple(str(each["file_name"]) for each in images),
        sizes=sizes,
        starts=np.searchsorted(image_of[order], np.arange(len(images) + 1)),
        annotation_ids=annotation_ids[order],
        boxes=boxes[order].astype(np.float32),
        labels=labels[order],
        segmentations=np.frombuffer(b"".join(texts), np.uint8),
        segmentation_starts=np.cumsum([0, *map(len, texts)]),
    )


def _serialise(segmentation: Any) -> bytes:
    return marshal.dumps(segmentation) if segmentation else b""


def _places(values: Sequence[Any], known: NDArray[np.int64], what: str, path: Path) -> NDArray[np.int64]:
    """Find each value's place in `known`.

    Raises:
        UserError: If one is not there.
    """
    given = np.array(values, np.int64)
    order = np.argsort(known, kind="stable")
    places = (
        order[np.searchsorted(known[order], given).clip(max=max(0, len(known) - 1))] if len(known) else given
    )
    is_known = known[places] == given if len(known) else np.zeros(len(given), bool)
    if not is_known.all():
        raise UserError(
            f"{path} has an annotation of the unknown {what} {given[~is_known][0]}: correct it; "
            "`mscsa check-data` lists all"
        )
    return places
