"""Embedded scenes with one label each."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image
from torch import Tensor

from mscsa.data.batches import LabelledSample, collate_labels
from mscsa.data.contract import Batch, Transform
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.dataset import SceneDataset
from mscsa.data.scenes.scene import CLASS_NAMES


class SceneClassification(SceneDataset[LabelledSample]):
    """Scenes of one digit each as a `TaskDataset`.

    Args:
        scenes: The scenes.
        transform: What makes a tensor of the image.
        seed: Seed of the augmentation.
    Raises:
        ValueError: If the scenes may have several digits, of which a label can name one only.
    """

    def __init__(self, scenes: SceneCollection, transform: Transform, *, seed: int) -> None:
        if scenes.max_digits != 1:
            raise ValueError(
                f"scenes of up to {scenes.max_digits} digits, a label names one: give max_digits=1"
            )
        super().__init__(scenes, CLASS_NAMES, seed=seed)
        self.transform = transform

    def __getitem__(self, key: SampleKey | int) -> tuple[Tensor, int, int]:
        """Return (image (3, H, W) float, digit, index)."""
        with self.drawn(key) as (index, scene):
            return self.transform(Image.fromarray(scene.image)), int(scene.labels[0]), index

    def collate(self, samples: Sequence[LabelledSample]) -> Batch:
        """Stack samples: (B, 3, H, W), (B,), (B,)."""
        return collate_labels(samples)
