"""Images with label maps on the disk: index PNG beside a list of classes, and ADE20K's own layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from mscsa.data.contract import Split, augmented_by, sample_index
from mscsa.data.images import EXTENSIONS, load_image
from mscsa.data.sampler import SampleKey
from mscsa.data.segmentation_transforms import IGNORED, JointTransform
from mscsa.errors import UserError

LabelLayout = Literal["masks", "ade20k"]

CLASSES_FILE = "classes.txt"
ADE20K_CLASSES = 150

_SHOWN = 3


@dataclass(frozen=True)
class Layout:
    """Where images and labels of a split are."""

    images: str
    labels: str
    folders: dict[Split, str]
    """Split -> name of its folder."""


LAYOUTS: dict[LabelLayout, Layout] = {
    "masks": Layout("images", "labels", {"train": "train", "val": "val"}),
    "ade20k": Layout("images", "annotations", {"train": "training", "val": "validation"}),
}


class BadLabels(Exception):
    """A label map that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy


class SegmentationFolder(Dataset[tuple[Tensor, Tensor, int]]):
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
        UserError: If a folder or a partner of a file is missing, or the classes differ.
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
                f"{root} has the classes {_listed(self.class_names)}, the checkpoint "
                f"{_listed(class_names)}: give data of the same classes, in the same order"
            )
        self.split = split
        self.transform = transform
        self.seed = seed
        self.layout = layout
        pairs, alone = label_pairs(root, split, layout)
        if alone:
            raise UserError(
                f"{alone[0]} has no {'label map' if _is_image(alone[0], root, layout) else 'image'} of its "
                f"name ({len(alone)} such files): add it, or remove the file; `mscsa check-data {root}` "
                "lists all"
            )
        self._pairs = pairs

    def __len__(self) -> int:
        return len(self._pairs)

    def describe(self, index: int) -> str:
        """Name the image's file."""
        return str(self._pairs[index][0])

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, Tensor, int]:
        """Return (image (3, h, w) float, labels (H, W), index).

        Raises:
            UserError: If a file is unreadable, the sizes differ, or a label is no class.
        """
        index = sample_index(key)
        image_path, label_path = self._pairs[index]
        image = load_image(image_path)
        try:
            labels = read_labels(label_path, self.layout)
            check_labels(labels, image.size, len(self.class_names))
        except BadLabels as bad:
            raise UserError(f"{label_path}: {bad.what}; {bad.remedy}") from bad
        with augmented_by(self.seed, key):
            pixels, classes = self.transform(image, Image.fromarray(labels))
        return pixels, classes, index

    def collate(self, samples: Sequence[tuple[Tensor, Tensor, int]]) -> Any:
        """Stack training samples; keep those of evaluation apart, whose sizes differ."""
        return collate_segmentation(samples, self.split)


def collate_segmentation(samples: Sequence[tuple[Tensor, Tensor, int]], split: Split) -> Any:
    """Make a batch: (B, 3, S, S), (B, S, S), (B,) in training; two lists and (B,) in evaluation."""
    if split == "train":
        return default_collate(list(samples))
    images, labels, indices = zip(*samples, strict=True)
    return list(images), list(labels), torch.tensor(indices)


def segmentation_classes(root: str | Path, layout: LabelLayout) -> list[str]:
    """Name the classes of a data set, in the order of their indices.

    Raises:
        UserError: If `classes.txt` is missing, empty or names a class twice.
    """
    if layout == "ade20k":
        return _ade20k_classes(Path(root))
    path = Path(root) / CLASSES_FILE
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"{path} cannot be read: write the names of the classes into it, one per line, in the order of "
            "their indices"
        ) from error
    if not names or len(names) > IGNORED:
        raise UserError(f"{path} names {len(names)} classes: 1 to {IGNORED} are possible")
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UserError(f"{path} names {twice!r} twice: give each class a name of its own")
    return names


def label_pairs(
    root: str | Path, split: Split, layout: LabelLayout
) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair the images and label maps of a split by their names.

    Returns:
        Pairs (image, label map) in the order of their names, and the files that have no partner.
    Raises:
        UserError: If a folder is missing, or there is no pair.
    """
    place = LAYOUTS[layout]
    folder = place.folders[split]
    images = _files(Path(root) / place.images / folder, EXTENSIONS)
    labels = _files(Path(root) / place.labels / folder, (".png",))
    pairs = [(images[stem], labels[stem]) for stem in sorted(images.keys() & labels.keys())]
    if not pairs:
        raise UserError(
            f"no image in {Path(root) / place.images / folder} has a label map of its name in "
            f"{Path(root) / place.labels / folder}: give NAME.png for NAME.jpg"
        )
    alone = [images[stem] for stem in sorted(images.keys() - labels.keys())]
    return pairs, alone + [labels[stem] for stem in sorted(labels.keys() - images.keys())]


def read_labels(path: str | Path, layout: LabelLayout) -> NDArray[np.uint8]:
    """Read a label map as class indices (H, W), 255 for ignored pixels.

    Raises:
        BadLabels: If it is unreadable, or holds colours instead of indices.
    """
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if image.mode not in ("L", "P", "1"):
                raise BadLabels(
                    f"mode {image.mode}: colours or deep grey instead of 8-bit class indices",
                    "save it as a PNG of one 8-bit channel",
                )
            labels = np.array(image, np.uint8)
    except UnidentifiedImageError as error:
        raise BadLabels("not a PNG", "save it as a PNG of one 8-bit channel") from error
    except OSError as error:
        reason = (error.strerror or "damaged or truncated").lower()
        raise BadLabels(reason, "replace it") from error
    if layout == "ade20k":
        labels = labels - np.uint8(1)  # wraps: 0 becomes 255, ignored
    return labels


def check_labels(labels: NDArray[np.uint8], image_size: tuple[int, int], num_classes: int) -> None:
    """Look for what makes labels unusable.

    Args:
        labels: Class indices, (H, W).
        image_size: (width, height) of the image.
        num_classes: Indices below it are allowed, and 255.
    Raises:
        BadLabels: If the size differs or an index is too large; names the first such pixel.
    """
    height, width = labels.shape
    if (width, height) != image_size:
        raise BadLabels(
            f"{width}x{height} px, its image has {image_size[0]}x{image_size[1]}",
            "give label maps of the size of their images",
        )
    wrong = (labels >= num_classes) & (labels != IGNORED)
    if wrong.any():
        y, x = np.argwhere(wrong)[0]
        raise BadLabels(
            f"label {labels[y, x]} at pixel x={x}, y={y} ({wrong.sum()} such pixels), of {num_classes}",
            f"use 0 to {num_classes - 1}, or {IGNORED} for pixels to ignore",
        )


def _files(folder: Path, extensions: tuple[str, ...]) -> dict[str, Path]:
    """List the files of a folder by their names without extension."""
    if not folder.is_dir():
        raise UserError(f"{folder} is not there: give the folder that holds it as data.root")
    files = sorted(folder.iterdir())
    return {
        path.stem: path
        for path in files
        if path.suffix.lower() in extensions and not path.name.startswith(".")
    }


def _is_image(path: Path, root: str | Path, layout: LabelLayout) -> bool:
    return path.is_relative_to(Path(root) / LAYOUTS[layout].images)


def _ade20k_classes(root: Path) -> list[str]:
    """Read the names of ADE20K's 150 classes from its `objectInfo150.txt`, or number them."""
    path = root / "objectInfo150.txt"
    numbered = [f"class {i}" for i in range(1, ADE20K_CLASSES + 1)]
    if not path.exists():
        return numbered
    # Columns: Idx, Ratio, Train, Val, Name (several, by commas).
    rows = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()[1:] if line.strip()]
    names = [row[-1].partition(",")[0].strip() for row in rows]
    if len(names) != ADE20K_CLASSES:
        return numbered
    # Two classes are called "screen".
    return [name if names.count(name) == 1 else f"{name} ({i + 1})" for i, name in enumerate(names)]


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{', '.join(names[:_SHOWN])}{more}"
