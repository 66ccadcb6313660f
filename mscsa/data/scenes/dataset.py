"""What the data sets of embedded scenes share, whatever the task."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from torch.utils.data import Dataset

from mscsa.data.contract import augmented_by, sample_index
from mscsa.data.sampler import SampleKey

SampleT = TypeVar("SampleT", covariant=True)


class Scenes(Protocol):
    """Rendered images by number."""

    def __len__(self) -> int: ...

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""

    def render(self, index: int) -> Any:
        """Give `image`, RGB uint8 (S, S, 3), and what is known of it."""


class SceneDataset(Dataset[SampleT]):
    """Scenes as a `TaskDataset`, but for samples and batches, which are the task's."""

    scenes: Scenes

    def __init__(self, scenes: Scenes, class_names: Sequence[str], *, seed: int) -> None:
        """Take scenes.

        Args:
            scenes: The scenes.
            class_names: Of labels 0, 1, ...
            seed: Seed of the augmentation.
        """
        self.class_names = list(class_names)
        self.scenes = scenes
        self.seed = seed

    def __len__(self) -> int:
        return len(self.scenes)

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""
        return self.scenes.describe(index)

    def files(self, index: int) -> tuple[Path, ...]:
        """Give the files that a scene is read from: none."""
        return ()

    @contextmanager
    def drawn(self, key: SampleKey | int) -> Iterator[tuple[int, Any]]:
        """Give a sample's index and its scene; within, what is random is the sample's own."""
        index = sample_index(key)
        scene = self.scenes.render(index)
        with augmented_by(self.seed, key):
            yield index, scene
