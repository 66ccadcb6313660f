"""Images with objects in COCO's format; masks are drawn when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import ObjectSample, collate_objects
from mscsa.data.coco.annotations import image_path, read_annotations, read_json, split_files
from mscsa.data.coco.masks import BadMask, check_segmentation, decode_segmentation
from mscsa.data.contract import Batch, Split, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.detection import Objects, ObjectTransform
from mscsa.errors import UserError


class CocoDetection(Dataset[ObjectSample]):
    """One split of a COCO data set as an `ObjectDataset`.

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

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the file of the image."""
        return (Path(self.describe(index)),)

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

    def collate(self, samples: Sequence[ObjectSample]) -> Batch:
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


def _difference(path: Path, own: Sequence[str], expected: Sequence[str]) -> str:
    extra = [name for name in own if name not in expected]
    missing = [name for name in expected if name not in own]
    parts = [
        f"{what} {some_of(names)}" for what, names in (("too many:", extra), ("missing:", missing)) if names
    ]
    return f"{path} has other categories than expected ({'; '.join(parts)}): give data of the same classes"
