"""One split of packed images as a data set."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from torch import Tensor
from torch.utils.data import Dataset

from mscsa.data.batches import LabelledSample, collate_labels
from mscsa.data.class_folders.layouts import quoted
from mscsa.data.contract import Batch, Transform, augmented_by, sample_index
from mscsa.data.images import load_image
from mscsa.data.packed.layouts import PackedSplit
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError

logger = logging.getLogger(__name__)


class PackedImages(Dataset[LabelledSample]):
    """Packed images with one class each as a `TaskDataset`, each read by itself, as those of folders are.

    Args:
        found: What `find_packed` found.
        transform: What makes a tensor of the RGB image.
        seed: Seed of the augmentation.
        class_names: Classes of a checkpoint, in the order of its labels; null takes the data's.
    Raises:
        UserError: If the split has no image, or a class that is none of `class_names`.
    """

    def __init__(
        self,
        found: PackedSplit,
        transform: Transform,
        seed: int,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.class_names = list(found.class_names if class_names is None else class_names)
        self.containers: tuple[Path, ...] = found.source.files
        self.transform = transform
        self.seed = seed
        self._source = found.source
        self._chosen = found.chosen
        place = {name: label for label, name in enumerate(self.class_names)}
        own = [found.source.labels[i] for i in found.chosen]
        if not own:
            raise UserError(f"{found.place}: no image of {found.split}; add some")
        if unknown := set(own) - set(place):
            raise UserError(
                f"{found.place}: {found.split} has images of {quoted(unknown)}, none of the "
                f"{len(place)} classes of the checkpoint; give the data that it was trained for"
            )
        self.labels = [place[name] for name in own]
        """Of each image, a place in `class_names`."""
        if absent := set(place) - set(own):
            logger.warning("%s: no image of %s in %s", found.place, quoted(absent), found.split)
        logger.info(
            "%s: %s with %d images of %d classes for %s; each is read by itself, so that a resumed run and "
            "several processes see what those of image folders see",
            found.place,
            found.form,
            len(own),
            len(self.class_names),
            found.split,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def describe(self, index: int) -> str:
        """Say in which file, and where in it, an image is."""
        return self._source.describe(int(self._chosen[index]))

    def content(self, index: int) -> bytes:
        """Read the file that an image was.

        Raises:
            UserError: If it cannot be read.
        """
        return self._source.content(int(self._chosen[index]))

    def collate(self, samples: Sequence[LabelledSample]) -> Batch:
        """Stack samples: (B, 3, H, W), (B,), (B,)."""
        return collate_labels(samples)

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, int, int]:
        """Return (image (3, H, W) float, label, index).

        Raises:
            UserError: If it is no readable image.
        """
        index = sample_index(key)
        image = load_image(self.describe(index), content=self.content(index))
        with augmented_by(self.seed, key):
            return self.transform(image), self.labels[index], index
