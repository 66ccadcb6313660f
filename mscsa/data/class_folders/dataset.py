"""Images in class folders: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg (ImageNet), or ROOT/CLASS/."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import LabelledSample, collate_labels
from mscsa.data.class_folders.layouts import class_difference, find_classes, quoted, without_images
from mscsa.data.contract import SPLITS, Batch, Split, Transform, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.sampler import SampleKey
from mscsa.data.texts import composed
from mscsa.errors import UserError

logger = logging.getLogger(__name__)


class ImageFolder(Dataset[LabelledSample]):
    """One split of an image folder as a `TaskDataset`: images with one label each.

    A class is a folder, its label the place of its name in sorted order; both splits must hold the
    same classes. With `class_names` (those of a checkpoint) labels follow that list, and only this
    split is looked at, which may lack some of them. Images in folders within a class's belong to it, as in
    timm and torchvision. Hidden files and folders, and files without an image's extension are left out, the
    latter with a warning; links are followed.

    Args:
        root: Folder that holds `train` and `val`, the class folders of both, or a table (`find_classes`).
        split: Which of them.
        transform: What makes a tensor of the RGB image.
        seed: Seed of the augmentation.
        class_names: Names in the order of the labels.
    Raises:
        UserError: If a folder is missing, a class has no images, or the classes do not agree.
    """

    def __init__(
        self,
        root: str | Path,
        split: Split,
        transform: Transform,
        seed: int,
        class_names: Sequence[str] | None = None,
    ) -> None:
        where = find_classes(root, split)
        found = where.class_names()
        self.annotation_files = where.files()
        if class_names is None:
            _check_same_classes(Path(root))
        else:
            _check_known_classes(where.place, found, class_names)
        self.class_names = list(found if class_names is None else class_names)
        self.transform = transform
        self.seed = seed
        self._paths: list[str] = []
        self.labels: list[int] = []
        """Of each image, a place in `class_names`."""
        names = set(found)
        present = {name: i for i, name in enumerate(self.class_names) if composed(name) in names}
        if absent := set(self.class_names) - present.keys():
            logger.warning("%s: no image of %s in %s", where.place, quoted(absent), split)
        for name, label in present.items():
            files = where.images(name)
            if not files:
                problem = without_images(where, name, split)
                raise UserError(f"{problem.path}: {problem.what}; {problem.remedy}")
            self._paths += files
            self.labels += [label] * len(files)
        if note := where.left_out(present):
            logger.warning("%s: %s", where.place, note)

    def __len__(self) -> int:
        return len(self._paths)

    def describe(self, index: int) -> str:
        """Return the path of an image."""
        return self._paths[index]

    def files(self, index: int) -> tuple[str]:
        """Give the file of an image."""
        return (self._paths[index],)

    def collate(self, samples: Sequence[LabelledSample]) -> Batch:
        """Stack samples: (B, 3, H, W), (B,), (B,)."""
        return collate_labels(samples)

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, int, int]:
        """Return (image (3, H, W) float, label, index).

        Raises:
            UserError: If the file is no readable image.
        """
        index = sample_index(key)
        image = load_image(self._paths[index])
        with augmented_by(self.seed, key):
            return self.transform(image), self.labels[index], index


def _check_same_classes(root: Path) -> None:
    train, val = (find_classes(root, split).class_names() for split in SPLITS)
    difference = class_difference(train, val)
    if difference:
        raise UserError(f"{root}: {difference}; both splits must hold the same classes")


def _check_known_classes(folder: Path, found: Sequence[str], known: Sequence[str]) -> None:
    names = {composed(name) for name in known}  # files of older versions have them as the disk had
    unknown, missing = set(found) - names, names - set(found)
    parts = [f"unknown {quoted(unknown)}"]
    parts += [f"missing {quoted(missing)}"] if missing else []
    if unknown:
        raise UserError(
            f"{folder}: classes differ from the {len(known)} of the checkpoint: "
            f"{', '.join(parts)}; give the data that the checkpoint was trained for"
        )
