"""Images in class folders, ImageNet's layout: ROOT/train/CLASS/*.jpg and ROOT/val/CLASS/*.jpg."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import LabelledSample, collate_labels
from mscsa.data.contract import SPLITS, Batch, Split, Transform, augmented_by, sample_index
from mscsa.data.foreign import refuse_foreign
from mscsa.data.images import EXTENSIONS, load_image
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.walking import files_within, visible_entries
from mscsa.errors import UserError

logger = logging.getLogger(__name__)


class ImageFolder(Dataset[LabelledSample]):
    """One split of an image folder as a `TaskDataset`: images with one label each.

    A class is a folder, its label the place of its name in sorted order; both splits must hold the
    same classes. With `class_names` (those of a checkpoint) labels follow that list, and only this
    split is looked at. Images in folders within a class's belong to it, as in timm and torchvision. Hidden
    files and folders, and files without an image's extension are left out, the latter with a warning; links
    are followed.

    Args:
        root: Folder that holds `train` and `val`.
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
        folder = split_folder(root, split)
        found = class_folders(folder)
        if class_names is None:
            _check_same_classes(Path(root))
            self.class_names = found
        else:
            _check_known_classes(folder, found, class_names)
            self.class_names = list(class_names)
        self.transform = transform
        self.seed = seed
        self._paths: list[str] = []
        self._labels: list[int] = []
        for label, name in enumerate(self.class_names):
            files = image_files(folder / name)
            if not files:
                raise UserError(
                    f"{folder / name}: class without images ({', '.join(EXTENSIONS)}); add some or remove "
                    "the folder"
                )
            self._paths += files
            self._labels += [label] * len(files)
        if note := left_out(folder / name for name in self.class_names):
            logger.warning("%s: %s", folder, note)

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
            return self.transform(image), self._labels[index], index


def split_folder(root: str | Path, split: Split) -> Path:
    """Return ROOT/split.

    Raises:
        UserError: If it is not there.
    """
    folder = Path(root) / split
    if not Path(root).is_dir():
        here = "" if Path(root).is_absolute() else f" in {Path.cwd()}"
        raise UserError(
            f"{root}: no such folder{here}; give the one with train/ and val/ as data.root, or --root of eval"
        )
    if not folder.is_dir():
        refuse_foreign(Path(root))
        raise UserError(f"{root}: no folder {split}/; images are expected in {split}/CLASS/ beneath it")
    return folder


def class_folders(folder: Path) -> list[str]:
    """Return the names of a split's class folders, sorted.

    Raises:
        UserError: If there is none, or the folder cannot be read.
    """
    names = sorted(entry.name for entry in visible_entries(folder) if entry.is_dir())
    if not names:
        raise UserError(f"{folder}: no class folders; images are expected in {folder}/CLASS/")
    return names


def image_files(folder: Path) -> list[str]:
    """Return the paths of the images in a class folder and the folders within it, sorted.

    A dangling link counts: reading it then fails by name instead of losing it silently.

    Raises:
        UserError: If the folder is missing or cannot be read.
    """
    return sorted(entry.path for entry in files_within(folder) if _is_image(entry))


def left_out(folders: Iterable[Path]) -> str | None:
    """Say how many visible files in class folders are no images by their extension; None where all are.

    Raises:
        UserError: If a folder cannot be read.
    """
    others = [entry.name for folder in folders for entry in files_within(folder) if not _is_image(entry)]
    if not others:
        return None
    kinds = Counter(Path(name).suffix.lower() or "no extension" for name in others)
    counted = some_of([f"{count} {kind}" for kind, count in kinds.most_common()])
    return f"{len(others)} files are left out, which are no images by their names ({counted})"


def class_difference(train: Iterable[str], val: Iterable[str]) -> str | None:
    """Say which classes only one split has, or return None where they agree."""
    only_train, only_val = set(train) - set(val), set(val) - set(train)
    parts = [
        f"only {split}/ has {_quoted(names)}"
        for split, names in (("train", only_train), ("val", only_val))
        if names
    ]
    return " and ".join(parts) or None


def _is_image(entry: os.DirEntry[str]) -> bool:
    return entry.name.lower().endswith(EXTENSIONS)


def _check_same_classes(root: Path) -> None:
    train, val = (class_folders(split_folder(root, split)) for split in SPLITS)
    difference = class_difference(train, val)
    if difference:
        raise UserError(f"{root}: {difference}; both splits must hold the same class folders")


def _check_known_classes(folder: Path, found: Sequence[str], known: Sequence[str]) -> None:
    unknown, missing = set(found) - set(known), set(known) - set(found)
    parts = [f"unknown {_quoted(unknown)}"] if unknown else []
    parts += [f"missing {_quoted(missing)}"] if missing else []
    if parts:
        raise UserError(
            f"{folder}: classes differ from the {len(known)} of the checkpoint: "
            f"{', '.join(parts)}; give the data that the checkpoint was trained for"
        )


def _quoted(names: Iterable[str]) -> str:
    return some_of([repr(name) for name in sorted(names)])
