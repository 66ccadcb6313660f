"""One split of a folder of images with label maps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import MappedSample, collate_maps
from mscsa.data.contract import Batch, Split, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.label_maps.labels import BadLabels, check_labels, read_labels
from mscsa.data.label_maps.layouts import LAYOUTS, LabelLayout, label_pairs, segmentation_classes
from mscsa.data.problems import some_of
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.segmentation import JointTransform
from mscsa.errors import UserError


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
                f"{root} has the classes {some_of(self.class_names)}, the checkpoint "
                f"{some_of(class_names)}: give data of the same classes, in the same order"
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

    def files(self, index: int) -> tuple[Path, Path]:
        """Give the files of image and label map."""
        return self._pairs[index]

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

    def collate(self, samples: Sequence[MappedSample]) -> Batch:
        """Stack training samples; keep those of evaluation apart, whose sizes differ."""
        return collate_maps(samples, self.split)


def _is_image(path: Path, root: str | Path, layout: LabelLayout) -> bool:
    return path.is_relative_to(Path(root) / LAYOUTS[layout].images)
