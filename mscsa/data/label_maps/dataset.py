"""One split of a folder of images with label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import IGNORED, Batch, Split, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.label_maps.labels import BadLabels, check_labels, read_labels
from mscsa.data.label_maps.layouts import LAYOUTS, LabelLayout, label_pairs, segmentation_classes
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.segmentation import JointTransform
from mscsa.errors import UserError

_REMEDY = f"label two classes or more by their places in the list, 0, 1, ...; {IGNORED} is none of them"


class SegmentationFolder(Dataset[MappedSample]):
    """One split of a folder of images and label maps as a `TaskDataset`.

    Layout `masks`: ROOT/images/SPLIT/NAME.jpg, ROOT/labels/SPLIT/NAME.png with the index of the class for
    each pixel (255 ignored), ROOT/classes.txt with a name per line in the order of the indices. Layout
    `ade20k`: ROOT/images/training and ROOT/annotations/training, as ADEChallengeData2016, whose label 0 is
    ignored and n is class n - 1.

    Args:
        root: Folder of the data set.
        split: `train` or `val`; training samples are crops of one size.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
        layout: `masks` or `ade20k`.
        class_names: Those of a checkpoint, which the data's must be; the data's own if None.
    Raises:
        UserError: If a folder or a partner of a file is missing, two files share a name, the classes differ,
            or the labels have one class alone.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        transform: JointTransform,
        seed: int,
        *,
        layout: LabelLayout = "masks",
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.class_names = segmentation_classes(root, layout)
        if class_names is not None and list(class_names) != self.class_names:
            raise UserError(
                f"{root} has the classes {some_of(self.class_names)}, the checkpoint "
                f"{some_of(class_names)}: give data of the same classes, in the same order"
            )
        self.split = split
        self.transform = transform
        self.seed = seed
        self.layout = layout
        pairs, alone, doubles = label_pairs(root, split, layout)
        if doubles:
            raise UserError(
                f"{doubles[0][0]} and {doubles[0][1]} share a name ({len(doubles)} such pairs), so one would "
                "be left out: give each a name of its own, or remove one"
            )
        if alone:
            raise UserError(
                f"{alone[0]} has no {'label map' if _is_image(alone[0], root, layout) else 'image'} of its "
                f"name ({len(alone)} such files): add it, or remove the file; `mscsa check-data {root}` "
                "lists all"
            )
        self._pairs = pairs
        self._check_classes(Path(root))

    def __len__(self) -> int:
        return len(self._pairs)

    def describe(self, index: int) -> str:
        """Name the image's file."""
        return str(self._pairs[index][0])

    def files(self, index: int) -> tuple[Path, Path]:
        """Give the files of image and label map."""
        return self._pairs[index]

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Tensor, int]:
        """Return (image (3, h, w) float, labels (H, W), index).

        Raises:
            UserError: If a file is unreadable, the sizes differ, or a label is no class.
        """
        index = sample_index(key)
        image = load_image(self._pairs[index][0])
        labels = self._labels(index, image.size)
        with augmented_by(self.seed, key):
            pixels, classes = self.transform(image, Image.fromarray(labels))
        return pixels, classes, index

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, whose sizes differ."""
        return collate_maps(samples, self.split)

    def _labels(self, index: int, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Read a label map, of an image of (W, H) px where that is known."""
        path = self._pairs[index][1]
        try:
            labels = read_labels(path, self.layout)
            check_labels(labels, size or (labels.shape[1], labels.shape[0]), len(self.class_names))
        except BadLabels as bad:
            raise UserError(f"{path}: {bad.what}; {bad.remedy}") from bad
        return labels

    def _check_classes(self, root: Path) -> None:
        """Refuse labels that nothing can be learnt from, or scored by; mostly the first map is enough."""
        wanted = 2 if self.split == "train" else 1
        if len(self.class_names) < wanted:
            raise UserError(
                f"{root} has one class, {self.class_names[0]!r}: whatever is learnt, it is right everywhere; "
                "name what is around it as a class too, and label it"
            )
        seen: set[int] = set()
        for index in range(len(self)):
            seen |= set(np.unique(self._labels(index)).tolist())
            if len(seen - {IGNORED}) >= wanted:
                return
        names = ", ".join(f"{self.class_names[each]} ({each})" for each in sorted(seen - {IGNORED}))
        told = f", and {IGNORED}, which is ignored" if IGNORED in seen else ""
        which = f"one class alone, {names}" if names else "no class"
        raise UserError(f"{root}: the labels of {self.split} have {which}{told}: {_REMEDY}")


def _is_image(path: Path, root: str | Path, layout: LabelLayout) -> bool:
    return path.is_relative_to(Path(root) / LAYOUTS[layout].images)
