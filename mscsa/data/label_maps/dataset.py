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
from mscsa.data.label_maps.labels import FEW_CLASSES_REMEDY, BadLabels, check_labels, read_labels
from mscsa.data.label_maps.layouts import LabelLayout, find_maps
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.texts import composed
from mscsa.data.transforms.segmentation import JointTransform
from mscsa.errors import UserError


class SegmentationFolder(Dataset[MappedSample]):
    """One split of a folder of images and label maps as a `TaskDataset`.

    Layout `masks`: ROOT/images/SPLIT/NAME.jpg, ROOT/labels/SPLIT/NAME.png with the index of the class for
    each pixel (255 ignored), ROOT/classes.txt with a name per line in the order of the indices, or what else
    `mscsa.data.label_maps.layouts` finds. Layout `ade20k`: ROOT/images/training and
    ROOT/annotations/training, as ADEChallengeData2016, whose label 0 is ignored and n is class n - 1.

    Args:
        root: Folder of the data set.
        split: `train` or `val`; training samples are crops of one size.
        transform: What makes tensors of image and labels.
        seed: Seed of the augmentation.
        layout: `masks` or `ade20k`.
        class_names: Those of a checkpoint, which the data's must be; the data's own if None.
        max_bad: Label maps that may be unusable where the classes are looked for (`data.max_bad`); each is
            told of when its own turn comes.
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
        max_bad: int = 0,
    ) -> None:
        found = find_maps(root, split, layout)
        self.table = found.table
        self.class_names = list(found.table.names)
        self.annotation_files = found.files()
        self.flip_pairs = found.table.flips
        if class_names is not None:
            _check_known_classes(root, self.class_names, class_names)
            self.class_names = list(class_names)
        self.split = split
        self.transform = transform
        self.seed = seed
        if found.doubles:
            one, other = found.doubles[0]
            raise UserError(
                f"{one} and {other} share a name ({len(found.doubles)} such pairs), so one would be left "
                "out: give each a name of its own, or remove one"
            )
        if found.alone:
            first = found.alone[0]
            lacks = "label map" if first.is_relative_to(found.places.images) else "image"
            raise UserError(
                f"{first} has no {lacks} of its name ({len(found.alone)} such files): add it, or remove the "
                f"file; `mscsa check-data {root}` lists all"
            )
        self._pairs = found.pairs
        self._check_classes(Path(root), max_bad)

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
        labels = self.label_map(index, image.size)
        with augmented_by(self.seed, key):
            pixels, classes = self.transform(image, Image.fromarray(labels))
        return pixels, classes, index

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, whose sizes differ."""
        return collate_maps(samples, self.split)

    def label_map(self, index: int, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
        """Read a label map as class indices (H, W), of an image of (W, H) px where that is known.

        Raises:
            UserError: If it is unreadable, of another size, or has a label that is no class.
        """
        path = self._pairs[index][1]
        try:
            labels = read_labels(path, self.table)
            if size is not None:
                check_labels(labels, size)
        except BadLabels as bad:
            raise UserError(f"{path}: {bad.what}; {bad.remedy}") from bad
        return labels

    def _check_classes(self, root: Path, max_bad: int) -> None:
        """Refuse labels that nothing can be learnt from, or scored by; mostly the first map is enough."""
        wanted = 2 if self.split == "train" else 1
        if len(self.class_names) < wanted:
            raise UserError(
                f"{root} has one class, {self.class_names[0]!r}: whatever is learnt, it is right everywhere; "
                "name what is around it as a class too, and label it"
            )
        seen: set[int] = set()
        bad: list[UserError] = []
        for index in range(len(self)):
            try:
                seen |= set(np.unique(self.label_map(index)).tolist())
            except UserError as error:
                bad.append(error)
            if len(bad) > max_bad:
                raise bad[-1]
            if len(seen - {IGNORED}) >= wanted:
                return
        if bad and not seen:
            raise bad[0]
        names = ", ".join(f"{self.class_names[each]} ({each})" for each in sorted(seen - {IGNORED}))
        told = f", and {IGNORED}, which is ignored" if IGNORED in seen else ""
        which = f"one class alone, {names}" if names else "no class"
        raise UserError(f"{root}: the labels of {self.split} have {which}{told}: {FEW_CLASSES_REMEDY}")


def _check_known_classes(root: str | Path, found: Sequence[str], known: Sequence[str]) -> None:
    if [composed(name) for name in found] != [composed(name) for name in known]:
        raise UserError(
            f"{root} has the classes {some_of(found)}, the checkpoint {some_of(known)}: give data of the "
            "same classes, in the same order"
        )
