"""Images with objects in COCO's format: annotations read once, held compactly, drawn when asked for."""

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
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.coco.masks import BadMask, check_segmentation, decode_segmentation
from mscsa.data.contract import Split, augmented_by, sample_index
from mscsa.data.detection_transforms import Objects, ObjectTransform
from mscsa.data.images import load_image
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

ANNOTATIONS = "annotations"

_SPLIT_NAMES: dict[Split, tuple[str, ...]] = {"train": ("train", "train2017"), "val": ("val", "val2017")}
_SHOWN = 5


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


class CocoDetection(Dataset[tuple[Tensor, dict[str, Any], int]]):
    """One split of a COCO data set as a `TaskDataset`.

    ROOT/annotations/instances_SPLIT.json with the images in ROOT/SPLIT. Category ids are mapped to labels
    1..K once, in ascending order. Crowds, and objects whose box has no area, are not trained on.

    Args:
        root: Folder of the data set.
        split: `train` or `val`.
        transform: What makes tensors of image and objects.
        seed: Seed of the augmentation.
        with_masks: Whether training samples have masks, and those of validation are to be scored.
        keep_empty: Whether training has images without objects too.
        class_names: Those of a checkpoint, or of the other split, in the order of their labels; the data's
            own if None. Categories are matched by name.
    Raises:
        UserError: If a file is missing or not COCO's format, or the classes differ.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        transform: ObjectTransform,
        seed: int,
        *,
        with_masks: bool = False,
        keep_empty: bool = True,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.annotation_file, self.image_folder = split_files(root, split)
        self.annotations = read_annotations(self.annotation_file)
        own = list(self.annotations.category_names)
        self.class_names = own if class_names is None else list(class_names)
        if sorted(self.class_names) != sorted(own):
            raise UserError(_difference(self.annotation_file, own, self.class_names))
        places = [own.index(name) for name in self.class_names]
        self.category_ids = [self.annotations.category_ids[place] for place in places]
        # From the file's own labels to those of `class_names`.
        self._labels = np.zeros(len(own) + 1, np.int64)
        self._labels[1 + np.array(places)] = 1 + np.arange(len(own))
        self.split = split
        self.transform = transform
        self.seed = seed
        self.with_masks = with_masks
        counts = np.diff(self.annotations.starts)
        is_used = counts > 0 if split == "train" and not keep_empty else np.ones(len(counts), bool)
        self._images = np.flatnonzero(is_used)
        if not len(self._images):
            raise UserError(f"{self.annotation_file} has no image{'' if keep_empty else ' with objects'}")
        if split == "val":
            self._check_scorable()

    def __len__(self) -> int:
        return len(self._images)

    def describe(self, index: int) -> str:
        """Name the image's file."""
        return str(image_path(self.image_folder, self.annotations.file_names[self._images[index]]))

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, dict[str, Any], int]:
        """Return (image (3, h, w) float in 0..1, target, index).

        Targets of training are the image's objects (`Objects`); those of evaluation say which image it is:
        `image_id`, and `size`, its (H, W) in pixels before the resizing.

        Raises:
            UserError: If the image or a mask is unreadable, or the image has another size than the
                annotations say.
        """
        index = sample_index(key)
        image = load_image(self.describe(index))
        place = int(self._images[index])
        height, width = self.annotations.sizes[place].tolist()
        if (image.width, image.height) != (width, height):
            raise UserError(
                f"{self.describe(index)} has {image.width}x{image.height} px, {self.annotation_file} says "
                f"{width}x{height}: `mscsa check-data` lists all such images"
            )
        if self.split == "val":
            pixels, _ = self.transform(image, {})
            image_id = int(self.annotations.image_ids[place])
            return pixels, {"image_id": image_id, "size": (height, width)}, index
        with augmented_by(self.seed, key):
            pixels, objects = self.transform(image, self._objects(place, (height, width)))
        return pixels, objects, index

    def collate(self, samples: Sequence[tuple[Tensor, dict[str, Any], int]]) -> Any:
        """Keep images and targets apart, whose sizes differ: two lists and (B,)."""
        return collate_objects(samples)

    def ground_truth(self) -> dict[str, Any]:
        """Give the whole file of annotations, by which detections are scored."""
        return read_json(self.annotation_file)

    def _check_scorable(self) -> None:
        """Refuse now what would end the first evaluation: no object, or a mask that cannot be read."""
        if not len(self.annotations.labels):
            raise UserError(f"{self.annotation_file} has no object: there is nothing to score detections by")
        if not self.with_masks:
            return
        content = self.ground_truth()
        sizes = {each["id"]: (each["height"], each["width"]) for each in content["images"]}
        for annotation in content["annotations"]:  # crowds too
            name = f"{self.annotation_file}: annotation {annotation['id']}"
            try:
                check_segmentation(annotation.get("segmentation"), sizes[annotation["image_id"]])
            except BadMask as bad:
                raise UserError(f"{name}: {bad.what}; {bad.remedy}") from bad

    def _objects(self, place: int, size: tuple[int, int]) -> Objects:
        annotations = self.annotations
        first, last = annotations.starts[place : place + 2].tolist()
        objects = {
            "boxes": torch.from_numpy(annotations.boxes[first:last].copy()),
            "labels": torch.from_numpy(self._labels[annotations.labels[first:last]]),
        }
        if self.with_masks:
            masks = np.zeros((last - first, *size), np.uint8)  # torchvision resizes bool as float32
            for i in range(first, last):
                masks[i - first] = self._mask(i, size)
            objects["masks"] = torch.from_numpy(masks)
        return objects

    def _mask(self, annotation: int, size: tuple[int, int]) -> NDArray[np.bool_]:
        name = f"{self.annotation_file}: annotation {self.annotations.annotation_ids[annotation]}"
        segmentation = self.annotations.segmentation(annotation)
        if not segmentation:
            raise UserError(
                f"{name} has no segmentation, which instance segmentation needs: add it, or train a detector "
                "of boxes such as retinanet"
            )
        try:
            return decode_segmentation(segmentation, size)
        except BadMask as bad:
            raise UserError(f"{name}: {bad.what}; {bad.remedy}") from bad


def collate_objects(samples: Sequence[tuple[Tensor, dict[str, Any], int]]) -> Any:
    """Make a batch of images and targets of any sizes: two lists and indices (B,)."""
    images, targets, indices = zip(*samples, strict=True)
    return list(images), list(targets), torch.tensor(indices)


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
            "%s: %d objects whose box has no area inside the image are left out (annotation %s%s)",
            path,
            len(left_out),
            ", ".join(map(str, left_out[:_SHOWN].tolist())),
            ", ..." if len(left_out) > _SHOWN else "",
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


def _difference(path: Path, own: Sequence[str], expected: Sequence[str]) -> str:
    extra = [name for name in own if name not in expected]
    missing = [name for name in expected if name not in own]
    parts = [
        f"{what} {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
        for what, names in (("too many:", extra), ("missing:", missing))
        if names
    ]
    return f"{path} has other categories than expected ({'; '.join(parts)}): give data of the same classes"
