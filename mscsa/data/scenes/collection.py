"""A number of embedded scenes: what the data sets of all tasks are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from mscsa.data.contract import Split
from mscsa.data.scenes.scene import CLASS_NAMES, Scene, digit_instances, render_scene

SEGMENTATION_CLASSES = ("background", *CLASS_NAMES)


@dataclass(frozen=True, kw_only=True)
class SceneCollection:
    """Scenes by number: scene i is the same each time, in each epoch and run.

    Raises:
        UserError: If scikit-learn, which holds the digits, is not installed.
    """

    split: Split
    """Whose digits are drawn."""
    num_scenes: int
    size: int
    """Side of a scene in px."""
    max_digits: int = 1
    """Most digits in a scene."""
    seed: int = 0
    """Kept apart from the augmentation's, so that runs with different seeds train and evaluate on the same
    images, as they would on files."""
    class_names: ClassVar[tuple[str, ...]] = SEGMENTATION_CLASSES
    """Of the pixels."""

    def __post_init__(self) -> None:
        # Loaded here so that a missing package shows at once, and forked workers share the digits.
        digit_instances(self.split)

    def __len__(self) -> int:
        return self.num_scenes

    def describe(self, index: int) -> str:
        """Name a scene by what it takes to render it again."""
        digits = f", up to {self.max_digits} digits" if self.max_digits > 1 else ""
        return f"scene {index} (seed {self.seed}, {self.split}{digits})"

    def render(self, index: int) -> Scene:
        """Render a scene.

        Raises:
            IndexError: If there are not so many.
        """
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"scene {index} of {self.num_scenes}")
        return render_scene(
            index, seed=self.seed, split=self.split, size=self.size, max_digits=self.max_digits
        )
