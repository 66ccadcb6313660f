"""Collages: pieces of real photographs on a photograph, each pixel labelled by the photograph it is from.

The photographs are those that scikit-image and scikit-learn bundle, so that dense tasks on pretrained
features run offline. Of each, two opposite quarters are for training and the other two for validation. Pieces
have all sizes from 1/8 to 6/10 of the side; scale, contrast and brightness vary, and most of the colour is
taken out and replaced by a random tint, else the colour alone would tell.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mscsa.data.contract import Split
from mscsa.data.scenes.scene import SMALLEST_SIDE
from mscsa.data.seeding import derive_seed
from mscsa.errors import needs_extra

SKIMAGE_PHOTOGRAPHS = (
    *("astronaut", "brick", "chelsea", "coffee", "coins", "grass", "gravel", "hubble_deep_field"),
    *("immunohistochemistry", "moon", "page", "retina", "rocket"),
)
SKLEARN_PHOTOGRAPHS = ("china", "flower")
COLLAGE_CLASSES = (*SKIMAGE_PHOTOGRAPHS, *SKLEARN_PHOTOGRAPHS)
"""Class of label i."""

_PHOTOGRAPH_SIDE = 384
"""Shorter side to which photographs are brought, in px."""
_PIECES = (2, 6)
_PIECE_SIDES = (1 / 8, 6 / 10)
_SCALES = (0.6, 1.6)
_ROUNDNESS = (1.0, 2.0, 8.0)
"""Exponents of superellipses: rhombus, ellipse, rounded rectangle."""
_MOST_COLOUR = 0.35

Pixels = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Collage:
    """One rendered image of side S."""

    image: NDArray[np.uint8]
    """RGB, (S, S, 3)."""
    semantic: NDArray[np.uint8]
    """The photograph that each pixel is from, an index of `COLLAGE_CLASSES`, (S, S)."""


@dataclass(frozen=True, kw_only=True)
class CollageCollection:
    """Collages by number: collage i is the same each time, in each epoch and run.

    Raises:
        UserError: If scikit-image or scikit-learn, which hold the photographs, is not installed.
    """

    split: Split
    """Whose quarters of the photographs are used."""
    num_scenes: int
    size: int
    """Side of a collage in px."""
    seed: int = 0
    """Kept apart from the augmentation's."""
    class_names: ClassVar[tuple[str, ...]] = COLLAGE_CLASSES
    """Of the pixels."""

    def __post_init__(self) -> None:
        # Loaded here so that a missing package shows at once, and forked workers share the photographs.
        quarters(self.split)

    def __len__(self) -> int:
        return self.num_scenes

    def describe(self, index: int) -> str:
        """Name a collage by what it takes to render it again."""
        return f"collage {index} (seed {self.seed}, {self.split})"

    def render(self, index: int) -> Collage:
        """Render a collage.

        Raises:
            IndexError: If there are not so many.
        """
        if not 0 <= index < self.num_scenes:
            raise IndexError(f"collage {index} of {self.num_scenes}")
        return render_collage(index, seed=self.seed, split=self.split, size=self.size)


def render_collage(index: int, *, seed: int, split: Split, size: int) -> Collage:
    """Render collage `index`: the same for the same arguments, in any process.

    Args:
        index: Number of the collage, from 0.
        seed: Seed of the whole collection.
        split: Whose quarters of the photographs to use; the two share no pixel.
        size: Side of the image in px, at least 32.
    Raises:
        ValueError: If `size` is too small.
        UserError: If scikit-image or scikit-learn is not installed.
    """
    if size < SMALLEST_SIDE:
        raise ValueError(f"collage of {size} px: give at least {SMALLEST_SIDE} px")
    rng = np.random.default_rng(derive_seed("collage", seed, split, index))
    ground = int(rng.integers(len(COLLAGE_CLASSES)))
    image = _patch(rng, quarters(split)[ground], size)
    semantic = np.full((size, size), ground, np.uint8)
    for _ in range(int(rng.integers(_PIECES[0], _PIECES[1] + 1))):
        chosen = int(rng.integers(len(COLLAGE_CLASSES)))
        inside = _shape(rng, size)
        image[inside] = _patch(rng, quarters(split)[chosen], size)[inside]
        semantic[inside] = chosen
    return Collage(image=np.rint(image * 255).astype(np.uint8), semantic=semantic)


@lru_cache(maxsize=2)
def quarters(split: Split) -> list[tuple[NDArray[np.uint8], ...]]:
    """Give two opposite quarters of each photograph, (H, W, 3) each: the other two for the other split.

    Raises:
        UserError: If scikit-image or scikit-learn is not installed.
    """
    try:
        from skimage import data
        from sklearn.datasets import load_sample_image
    except ImportError as error:
        packages = "scikit-image and scikit-learn, of which one is not installed"
        raise needs_extra(f"the collages take their photographs from {packages}", "train") from error
    photographs = [getattr(data, name)() for name in SKIMAGE_PHOTOGRAPHS]
    photographs += [load_sample_image(f"{name}.jpg") for name in SKLEARN_PHOTOGRAPHS]
    return [_opposite_quarters(Image.fromarray(each).convert("RGB"), split) for each in photographs]


def _opposite_quarters(photograph: Image.Image, split: Split) -> tuple[NDArray[np.uint8], ...]:
    factor = _PHOTOGRAPH_SIDE / min(photograph.size)
    size = round(photograph.width * factor), round(photograph.height * factor)
    pixels = np.asarray(photograph.resize(size, Image.Resampling.BICUBIC))
    y, x = pixels.shape[0] // 2, pixels.shape[1] // 2
    if split == "train":
        return pixels[:y, :x], pixels[y:, x:]
    return pixels[:y, x:], pixels[y:, :x]


def _patch(rng: np.random.Generator, sources: tuple[NDArray[np.uint8], ...], size: int) -> Pixels:
    """Cut a patch out of one of the quarters, scale it to (size, size, 3), and vary its look; 0..1."""
    source = sources[rng.integers(len(sources))]
    scale = math.exp(rng.uniform(math.log(_SCALES[0]), math.log(_SCALES[1])))
    side = min(*source.shape[:2], max(8, round(size / scale)))
    top, left = (int(rng.integers(length - side + 1)) for length in source.shape[:2])
    cut = Image.fromarray(source[top : top + side, left : left + side])
    pixels = np.asarray(cut.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255
    if rng.random() < 0.5:
        pixels = pixels[:, ::-1]
    grey = pixels.mean(axis=2, keepdims=True)
    pixels = grey + rng.uniform(0, _MOST_COLOUR) * (pixels - grey)
    pixels = (pixels - pixels.mean()) * rng.uniform(0.7, 1.3) + rng.uniform(0.3, 0.7)
    return np.clip(pixels * rng.uniform(0.8, 1.2, 3), 0, 1).astype(np.float32)


def _shape(rng: np.random.Generator, size: int) -> NDArray[np.bool_]:
    """Draw a turned superellipse of random size and place, (size, size)."""
    low, high = (math.log(share * size) for share in _PIECE_SIDES)
    length, stretch = math.exp(rng.uniform(low, high)), math.exp(rng.uniform(-0.25, 0.25))
    turn, power = rng.uniform(0, math.pi), rng.choice(_ROUNDNESS)
    y, x = np.mgrid[:size, :size] + 0.5
    y, x = y - rng.uniform(0, size), x - rng.uniform(0, size)
    along = (x * math.cos(turn) + y * math.sin(turn)) / (length / 2 * stretch)
    across = (y * math.cos(turn) - x * math.sin(turn)) / (length / 2 / stretch)
    return np.abs(along) ** power + np.abs(across) ** power < 1
