"""Images are prepared as in evaluation."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.data.transforms.segmentation import build_segmentation_transforms
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    SegmentationAugment,
    SegmentationData,
)
from mscsa_runtime import ArtifactError
from mscsa_runtime.metadata import Metadata, Sizes, Task
from mscsa_runtime.preprocessing import prepare
from tests.runtime.small_files import METADATA

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
RNG = np.random.default_rng(0)


def photograph(height: int, width: int) -> Image.Image:
    return Image.fromarray(RNG.integers(0, 256, (height, width, 3), dtype=np.uint8))


def metadata(task: Task, sizes: Sizes, **how: object) -> Metadata:
    return Metadata(
        task=task, parts=(), identity="", sizes=sizes, outputs=(), mean=MEAN, std=STD, preprocessing=how
    )


@pytest.mark.parametrize("mode", ["center", "squash"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(70, 101), (120, 83), (64, 64)])
def test_a_classifiers_image_is_what_timm_makes_of_it(
    mode: str, interpolation: str, size: tuple[int, int]
) -> None:
    cfg = {"mean": MEAN, "std": STD, "crop_pct": 0.9, "crop_mode": mode, "interpolation": interpolation}
    data = ClassificationData(kind="folder", image_size=48)
    _, transform = build_classification_transforms(data, ClassificationAugment(), cfg)
    image = photograph(*size)
    how = {"crop_pct": 0.9, "crop_mode": mode, "interpolation": interpolation}
    found = prepare(image, metadata("classification", Sizes(height=48, width=48), **how))
    np.testing.assert_allclose(found.pixels, transform(image), rtol=0, atol=1e-5)
    assert (found.size, found.own_size) == ((48, 48), size)


@pytest.mark.parametrize("multiple", [1, 32])
def test_a_segmenters_image_is_that_of_evaluation_and_padded(multiple: int) -> None:
    data = SegmentationData(kind="masks", short_side=60, long_side=90, size_multiple=multiple)
    cfg = {"mean": MEAN, "std": STD}
    _, transform = build_segmentation_transforms(data, SegmentationAugment(), cfg)
    image = photograph(50, 70)
    wanted, _ = transform(image, Image.new("L", image.size))
    sizes = Sizes(height=64, width=64, is_dynamic=True, least=64, step=32)
    how = {"short_side": 60, "long_side": 90, "size_multiple": multiple}
    found = prepare(image, metadata("segmentation", sizes, **how))
    height, width = found.size
    assert found.size == tuple(wanted.shape[-2:]) and found.pixels.shape == (3, 64, 96)
    np.testing.assert_allclose(found.pixels[:, :height, :width], wanted, rtol=0, atol=1e-5)
    assert not found.pixels[:, height:].any() and not found.pixels[:, :, width:].any()


def test_what_does_not_fit_into_the_one_size_is_made_smaller() -> None:
    how = {"short_side": 60, "long_side": 90, "size_multiple": 1}
    found = prepare(photograph(100, 50), metadata("detection", Sizes(height=64, width=96), **how))
    assert found.pixels.shape == (3, 64, 96) and found.size == (64, 32)


def test_a_pyramids_image_is_that_of_its_head() -> None:
    sizes = Sizes(height=64, width=96, is_dynamic=True, least=64, step=32)
    found = prepare(photograph(100, 50), metadata("pyramid", sizes, short_side=60, long_side=90))
    assert found.pixels.shape == (3, 96, 64) and found.size == (90, 45)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "HSV"])
def test_images_that_are_not_rgb_are_refused(mode: str) -> None:
    message = rf"an image of mode {mode} given: give RGB, as mscsa_runtime.images.decode_image reads"
    with pytest.raises(ArtifactError, match=message):
        prepare(Image.new(mode, (9, 9)), METADATA)
