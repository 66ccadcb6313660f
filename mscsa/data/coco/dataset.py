"""Images with objects in COCO's format; masks are drawn when they are asked for."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import ObjectSample, collate_objects
from mscsa.data.coco.layouts import GivenFiles, find_objects, image_path
from mscsa.data.coco.masks import BadMask, check_segmentation, decode_segmentation
from mscsa.data.contract import Batch, Split, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.mirroring import mirrored_classes
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.texts import composed
from mscsa.data.transforms.copy_paste import draw_with_pasted
from mscsa.data.transforms.detection import LEAST_SIDE, Objects, ObjectTransform, TrainObjects
from mscsa.data.transforms.frame import Frame
from mscsa.errors import UserError

logger = logging.getLogger(__name__)


class CocoDetection(Dataset[ObjectSample]):
    """One split of a set of objects as an `ObjectDataset`.

    ROOT/annotations/instances_SPLIT.json with the images in ROOT/SPLIT, or as `mscsa.data.coco.layouts` finds
    them, also in YOLO's and Pascal VOC's layouts. Category ids are mapped to labels 1..K once, in ascending
    order. Crowds, and objects whose box has no area, are not trained on.

    Args:
        root: Folder of the data set; None where `given` says all.
        split: `train` or `val`.
        transform: What makes tensors of image and objects.
        seed: Seed of the augmentation.
        with_masks: Whether training samples have masks, and those of validation are to be scored.
        keep_empty: Whether training has images without objects too.
        class_names: Those of a checkpoint, or of the other split, in the order of their labels; the data's
            own if None. Categories are matched by name.
        given: The split's file of annotations and folder of images, in place of looking for them.
        flip_pairs: Names of classes that are each other in a mirror image; those of the data if empty.
        max_bad: Images that may be unreadable where a layout takes their sizes from them (`data.max_bad`);
            each is told of when its own turn comes.
    Raises:
        UserError: If a file is missing or not COCO's format, or has classes that are not among `class_names`;
            if there is no object, none that training could see, or, with masks, one that cannot be drawn.
    """

    def __init__(
        self,
        root: str | Path | None,
        split: Split,
        transform: ObjectTransform,
        seed: int,
        *,
        with_masks: bool = False,
        keep_empty: bool = True,
        class_names: Sequence[str] | None = None,
        given: GivenFiles | None = None,
        flip_pairs: Sequence[tuple[str, str]] = (),
        max_bad: int = 0,
    ) -> None:
        found = find_objects(root, split, given)
        self.annotation_file, self.image_folder = found.file, found.folder
        self.annotation_files = found.files()
        self.annotations = found.read(max_bad)
        own = list(self.annotations.category_names)
        self.class_names = own if class_names is None else list(class_names)
        self.category_ids, self._labels = self._matched_categories(own)
        self.split = split
        self.transform = transform
        self.seed = seed
        self.with_masks = with_masks
        # A category that is none of the classes has no object, and nothing to be swapped with.
        known = set(map(composed, self.class_names))
        own_pairs = [pair for pair in self.annotations.flip_pairs if set(pair) <= known]
        self.flip_pairs = tuple(flip_pairs or own_pairs)
        mirrored = mirrored_classes(self.class_names, self.flip_pairs if split == "train" else ())
        self._mirrored = np.array([0, *(1 + each for each in mirrored)])
        counts = np.array([len(self.annotations.objects_of(i)) for i in range(len(self.annotations.sizes))])
        is_used = counts > 0 if split == "train" and not keep_empty else np.ones(len(counts), bool)
        # Whether an unreadable image has objects is not known: it has its place, where it counts as bad.
        is_used |= np.isin(self.annotations.image_ids, self.annotations.unreadable_ids)
        self._images = np.flatnonzero(is_used)
        if not len(self._images):
            raise UserError(f"{self.annotation_file} has no image{'' if keep_empty else ' with objects'}")
        self._check_usable()

    def __len__(self) -> int:
        return len(self._images)

    def describe(self, index: int) -> str:
        """Name the image's file."""
        return str(image_path(self.image_folder, self.annotations.file_names[self._images[index]]))

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the file of the image."""
        return (Path(self.describe(index)),)

    def labels_of(self, index: int) -> NDArray[np.int64]:
        """Give the labels of an image's objects, 1..K, (n,)."""
        chosen = self.annotations.objects_of(int(self._images[index]))
        return self._labels[self.annotations.labels[chosen]]

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, dict[str, Any], int]:
        """Return (image (3, h, w) float in 0..1, target, index).

        Targets of training are the image's objects (`Objects`); those of evaluation say which image it is:
        `image_id`, and `size`, its (H, W) in pixels before the resizing.

        Raises:
            UserError: If the image is unreadable, or has another size than the annotations say.
        """
        index = sample_index(key)
        if self.split == "val":
            image = self._image(index)
            pixels, _ = self.transform(image, {})
            image_id = int(self.annotations.image_ids[self._images[index]])
            return pixels, {"image_id": image_id, "size": (image.height, image.width)}, index
        with augmented_by(self.seed, key):
            if not self._copy_paste:
                return (*self._drawn(index), index)
            pixels, objects = draw_with_pasted(self._drawn, index, len(self), self._copy_paste)
        if not self.with_masks:
            del objects["masks"]
        return pixels, objects, index

    @property
    def _copy_paste(self) -> float:
        """Probability of pasting, which needs the masks of training also where nothing else does."""
        if self.split == "train" and isinstance(self.transform, TrainObjects):
            return self.transform.copy_paste
        return 0.0

    def _image(self, index: int) -> Image.Image:
        """Read an image, whose size must be that of the annotations."""
        image = load_image(self.describe(index))
        height, width = self.annotations.sizes[self._images[index]].tolist()
        if (image.width, image.height) != (width, height):
            raise UserError(
                f"{self.describe(index)} has {image.width}x{image.height} px, {self.annotation_file} says "
                f"{width}x{height}: `mscsa check-data` lists all such images"
            )
        return image

    def _drawn(self, index: int) -> tuple[Tensor, Objects]:
        """Draw a training sample of an image."""
        image = self._image(index)
        objects = self._objects(int(self._images[index]), (image.height, image.width))
        return self.transform(image, objects)

    def collate(self, samples: Sequence[ObjectSample]) -> Batch:
        """Keep images and targets apart, whose sizes differ: two lists and (B,)."""
        return collate_objects(samples)

    def ground_truth(self) -> dict[str, Any]:
        """Give what detections are scored by: the annotations as they were read, numbered anew from 1."""
        known = self.annotations
        image_of = known.image_ids[np.repeat(np.arange(len(known.sizes)), np.diff(known.starts))].tolist()
        category_of = np.array([0, *self.category_ids])[self._labels[known.labels]].tolist()
        columns = zip(
            image_of,
            category_of,
            known.boxes.tolist(),
            known.areas.tolist(),
            known.is_crowd.tolist(),
            strict=True,
        )
        annotations: list[dict[str, Any]] = [
            {"id": i + 1, "image_id": image, "category_id": category, "bbox": box, "area": area}
            | {"iscrowd": int(is_crowd)}
            for i, (image, category, box, area, is_crowd) in enumerate(columns)
        ]
        if self.with_masks:
            for i, annotation in enumerate(annotations):
                annotation["segmentation"] = known.segmentation(i)
        images = zip(known.image_ids.tolist(), known.file_names, known.sizes.tolist(), strict=True)
        return {
            "images": [
                {"id": image_id, "file_name": name, "height": height, "width": width}
                for image_id, name, (height, width) in images
            ],
            "annotations": annotations,
            "categories": [
                {"id": category_id, "name": name}
                for category_id, name in zip(self.category_ids, self.class_names, strict=True)
            ],
        }

    def _matched_categories(self, own: Sequence[str]) -> tuple[list[int], NDArray[np.int64]]:
        """Match the file's categories with `class_names`, by name.

        A class that the file does not list has no object there. A category without objects may be none of
        the classes.

        Returns:
            The id of each class, and from the file's own labels to those of `class_names`.
        """
        own_ids = self.annotations.category_ids
        known = list(map(composed, self.class_names))  # files of older versions have them as the data had
        used = set(np.unique(self.annotations.labels).tolist())
        extra = [name for i, name in enumerate(own) if name not in known and i + 1 in used]
        if extra or not set(own) & set(known):
            raise UserError(_difference(self.annotation_file, extra or own, own, known))
        place_of = {name: i for i, name in enumerate(own)}
        absent = [name for name in known if name not in place_of]
        if absent:
            logger.warning(
                "%s lists no category %s: no such object counts", self.annotation_file, some_of(absent)
            )
        ids = [
            own_ids[place_of[name]] if name in place_of else max(own_ids) + 1 + i
            for i, name in enumerate(known)
        ]
        labels = np.zeros(len(own) + 1, np.int64)
        for label, name in enumerate(known, start=1):
            if name in place_of:
                labels[1 + place_of[name]] = label
        return ids, labels

    def _check_usable(self) -> None:
        """Refuse now what would end a run later: missing images, no object, masks that cannot be drawn."""
        paths = list(map(self.describe, range(len(self))))
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise UserError(
                f"{missing[0]}: no such file, and {self.annotation_file} lists it ({len(missing)} such "
                f"images): add it, or remove it from the annotations"
            )
        entry_of: dict[str, str] = {}
        for path, name in zip(paths, (self.annotations.file_names[i] for i in self._images), strict=True):
            if entry_of.setdefault(path, name) != name:
                raise UserError(
                    f"{path} is the image of two entries of {self.annotation_file}, {entry_of[path]!r} and "
                    f"{name!r}: put each image where its name says"
                )
        if self.annotations.is_crowd.all():
            raise UserError(f"{self.annotation_file} has no object: there is nothing to learn or to score")
        if self.split == "train" and isinstance(self.transform, TrainObjects):
            self._count_vanishing(self.transform)
        if not self.with_masks and not self._copy_paste:
            return
        known = self.annotations
        for image, size in enumerate(known.sizes.tolist()):
            for annotation in range(*known.starts[image : image + 2].tolist()):
                if self.split == "val" or not known.is_crowd[annotation]:
                    self._check_mask(annotation, (size[0], size[1]))

    def _check_mask(self, annotation: int, size: tuple[int, int]) -> None:
        name = f"{self.annotation_file}: annotation {self.annotations.annotation_ids[annotation]}"
        segmentation = self.annotations.segmentation(annotation)
        if not segmentation:
            what, instead = "instance segmentation", "train a detector of boxes such as retinanet"
            if not self.with_masks:
                what, instead = "augment.copy_paste", "leave that out"
            raise UserError(f"{name} has no segmentation, which {what} needs: add it, or {instead}")
        try:
            check_segmentation(segmentation, size)
        except BadMask as bad:
            raise UserError(f"{name}: {bad.what}; {bad.remedy}") from bad

    def _count_vanishing(self, transform: TrainObjects) -> None:
        """Say how many objects are below a pixel at every size that training may give them."""
        known = self.annotations
        sides = known.boxes[:, 2:].min(axis=1)
        scales = np.array(
            [transform.largest_scale((height, width)) for height, width in known.sizes.tolist()]
        )
        scale_of = np.repeat(scales, np.diff(known.starts))
        is_lost = (sides * scale_of < LEAST_SIDE)[~known.is_crowd]
        remedy = "give a larger data.short_side, or boxes in pixels"
        if is_lost.all():
            raise UserError(
                f"{self.annotation_file}: all {len(is_lost)} objects are less than {LEAST_SIDE:g} px wide or "
                f"high at the size of training: {remedy}"
            )
        if is_lost.any():
            logger.warning(
                "%s: %d of %d objects are less than %g px wide or high at the size of training and are not "
                "trained on; for these, %s",
                self.annotation_file,
                is_lost.sum(),
                len(is_lost),
                LEAST_SIDE,
                remedy,
            )

    def _objects(self, place: int, size: tuple[int, int]) -> Objects:
        chosen = self.annotations.objects_of(place)
        labels = self._labels[self.annotations.labels[chosen]]
        objects: Objects = {
            "boxes": torch.from_numpy(self.annotations.corners(chosen)),
            "labels": torch.from_numpy(labels),
            "mirrored_labels": torch.from_numpy(self._mirrored[labels]),
        }
        if self.with_masks or self._copy_paste:
            objects["masks"] = partial(self._masks, chosen, size)
        return objects

    def _masks(
        self, annotations: NDArray[np.int64], size: tuple[int, int], frame: Frame, chosen: list[int]
    ) -> Tensor:
        """Draw the masks of some of an image's annotations, (n, h, w)."""
        masks = np.zeros((len(chosen), *frame.size), np.uint8)
        for mask, annotation in zip(masks, annotations[chosen].tolist(), strict=True):
            mask[:] = decode_segmentation(self.annotations.segmentation(annotation), size, frame)
        return torch.from_numpy(masks)


def _difference(path: Path, extra: Sequence[str], own: Sequence[str], expected: Sequence[str]) -> str:
    missing = [name for name in expected if name not in own]
    parts = [f"too many: {some_of(extra)}", *([f"missing: {some_of(missing)}"] if missing else [])]
    return f"{path} has other categories than expected ({'; '.join(parts)}): give data of the same classes"
