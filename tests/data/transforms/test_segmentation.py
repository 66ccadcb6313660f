"""Joint transforms of image and label map: both move together, and colours change alone."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.data.contract import IGNORED
from mscsa.data.seeding import seeded
from mscsa.data.transforms.segmentation import (
    build_segmentation_transforms,
    build_variants,
    mirrored_labels,
    turned,
)
from mscsa.errors import UserError
from mscsa.recipes.spec import SegmentationData
from tests.data.label_maps.label_map_folder import CFG, PLAIN, assert_aligned, image_of, labels_of

DATA = SegmentationData(kind="scenes", image_size=32, short_side=40, long_side=80)
LABELS = labels_of(0)


def test_evaluation_resizes_the_image_alone() -> None:
    _, evaluate = build_segmentation_transforms(replace(DATA, short_side=20), PLAIN, CFG)
    pixels, labels = evaluate(image_of(LABELS), Image.fromarray(LABELS))
    assert pixels.shape == (3, 20, 30) and pixels.dtype == torch.float32
    assert np.array_equal(labels, LABELS) and labels.dtype == torch.int64


def test_images_are_normalised_as_the_model_asks_or_as_timm_does_by_default() -> None:
    plain, own, default = (
        build_segmentation_transforms(DATA, PLAIN, cfg)[1](image_of(LABELS), Image.fromarray(LABELS))[0]
        for cfg in (CFG, {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)}, {})
    )
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.5, 0.4, 0.3), (0.2, 0.25, 0.5)))
    assert torch.allclose(own, (plain - mean) / std, atol=1e-6)
    mean, std = (torch.tensor(each)[:, None, None] for each in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(default, (plain - mean) / std, atol=1e-6)


@pytest.mark.parametrize("scale", [(0.5, 0.5), (1.0, 1.0), (2.0, 2.0)])
def test_training_crops_and_flips_both(scale: tuple[float, float]) -> None:
    train, _ = build_segmentation_transforms(DATA, replace(PLAIN, scale=scale, hflip=0.5), CFG)
    drawn = []
    for position in range(8):
        with seeded(0, position):
            pixels, labels = train(image_of(LABELS), Image.fromarray(LABELS))
        assert (pixels.shape, labels.shape) == ((3, 32, 32), (32, 32))
        assert (pixels.dtype, labels.dtype) == (torch.float32, torch.int64)
        assert set(labels.unique().tolist()) <= {0, 1, 2, IGNORED}
        assert_aligned(pixels, labels)
        drawn.append(labels)
    assert not all(torch.equal(drawn[0], each) for each in drawn)


def test_small_images_are_padded_with_the_mean_and_ignored_labels() -> None:
    labels = np.ones((40, 60), np.uint8)
    cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.5)}
    train, _ = build_segmentation_transforms(replace(DATA, short_side=20), PLAIN, cfg)
    pixels, classes = train(image_of(labels), Image.fromarray(labels))
    assert (classes[:20, :30] == 1).all() and (classes[20:] == IGNORED).all()
    assert (classes[:, 30:] == IGNORED).all()
    assert (pixels[:, 20:] == 0).all() and (pixels[:, :, 30:] == 0).all()  # the mean, after normalising
    assert (pixels[:, :20, :30] != 0).all()


def test_a_crop_of_one_class_is_drawn_again() -> None:
    """Sky, and a strip of the two others: most crops are nearly all sky."""
    labels = np.zeros((64, 128), np.uint8)
    labels[:, 100:110], labels[:, 110:] = 1, 2
    data = replace(DATA, short_side=64, long_side=128)

    def share_of_one_class(limit: float) -> float:
        train, _ = build_segmentation_transforms(data, replace(PLAIN, max_class_share=limit), CFG)
        random.seed(0)
        crops = [train(image_of(labels), Image.fromarray(labels))[1] for _ in range(40)]
        return sum((crop == 0).float().mean().item() > 0.75 for crop in crops) / len(crops)

    assert share_of_one_class(1.0) > 0.6
    assert share_of_one_class(0.75) < 0.2


def test_photometric_distortion_changes_colours_alone() -> None:
    plain, changed = (
        build_segmentation_transforms(DATA, replace(PLAIN, photometric=on), CFG)[0] for on in (False, True)
    )
    pairs = []
    for position in range(12):
        with seeded(position):
            a = plain(image_of(LABELS), Image.fromarray(LABELS))
        with seeded(position):
            b = changed(image_of(LABELS), Image.fromarray(LABELS))
        pairs.append((a, b))
    assert all(torch.equal(a[1], b[1]) for a, b in pairs)
    assert sum(not torch.equal(a[0], b[0]) for a, b in pairs) > 6
    assert all(b[0].min() >= 0 and b[0].max() <= 1 for _, b in pairs)


def test_evaluation_stretches_to_multiples() -> None:
    """As the public settings of ADE20K do; the labels stay."""
    data = replace(DATA, short_side=40, long_side=80, size_multiple=32)
    pixels, labels = build_segmentation_transforms(data, PLAIN, CFG)[1](
        image_of(LABELS), Image.fromarray(LABELS)
    )
    assert pixels.shape == (3, 64, 64) and labels.shape == LABELS.shape
    with pytest.raises(UserError, match="data.size_multiple 0 is not possible; give 1 or more"):
        build_segmentation_transforms(replace(DATA, size_multiple=0), PLAIN, CFG)


def test_top_and_bottom_are_swapped_together() -> None:
    train = build_segmentation_transforms(DATA, replace(PLAIN, vflip=1.0), CFG)[0]
    plain = build_segmentation_transforms(DATA, PLAIN, CFG)[0]
    random.seed(0)
    pixels, labels = train(image_of(LABELS), Image.fromarray(LABELS))
    random.seed(0)
    expected = plain(image_of(LABELS), Image.fromarray(LABELS))
    assert torch.equal(pixels, expected[0].flip(-2)) and torch.equal(labels, expected[1].flip(-2))


def test_turning_keeps_labels_on_their_pixels() -> None:
    """A quarter turn is exact; at any angle the image shows what its labels say, but at edges."""
    labels = np.zeros((60, 60), np.uint8)
    labels[10:30, 20:50], labels[35:50, 5:25] = 1, 2
    image = Image.fromarray(np.repeat(labels[..., None] * 100, 3, axis=2))
    pixels, classes = turned(image, Image.fromarray(labels), 90.0, (0.5, 0.5, 0.5))
    assert np.array_equal(np.asarray(classes), np.rot90(labels))
    assert np.array_equal(np.asarray(pixels)[..., 0], np.rot90(labels) * 100)
    for angle in (7.0, -33.0, 140.0):
        pixels, classes = turned(image, Image.fromarray(labels), angle, (0.5, 0.5, 0.5))
        known, values = np.asarray(classes), np.asarray(pixels)[..., 0].astype(int)
        assert (known == IGNORED).mean() > 0.02 and known.shape == labels.shape
        inside = known != IGNORED
        is_near = np.abs(values - known * 100) <= 50
        assert is_near[inside].mean() > 0.97
        # Of both edges of an object as much is lost: nothing is moved.
        assert abs((values - known.astype(int) * 100)[inside].mean()) < 1.5
        assert np.abs(values[~inside] - 128).mean() < 10


def test_angles_are_drawn_from_both_sides_and_only_where_asked() -> None:
    train = build_segmentation_transforms(DATA, replace(PLAIN, rotation=20.0), CFG)[0]
    plain = build_segmentation_transforms(DATA, PLAIN, CFG)[0]
    random.seed(0)
    found = [train(image_of(LABELS), Image.fromarray(LABELS))[1] for _ in range(6)]
    assert len({tuple(each.flatten().tolist()) for each in found}) == 6
    random.seed(0)
    first, then = plain(image_of(LABELS), Image.fromarray(LABELS)), random.random()
    random.seed(0)
    build_segmentation_transforms(DATA, replace(PLAIN, vflip=0.0), CFG)[0](
        image_of(LABELS), Image.fromarray(LABELS)
    )
    assert random.random() == then and first[1].shape == found[0].shape


def test_a_mirror_image_makes_other_classes_where_they_are_given() -> None:
    labels = torch.tensor([[0, 1, 2, IGNORED]])
    assert mirrored_labels(labels, ()).tolist() == [[IGNORED, 2, 1, 0]]
    assert mirrored_labels(labels, (1, 0, 2)).tolist() == [[IGNORED, 2, 0, 1]]
    mirrored = (1, 0, 2)
    for hflip, expected in ((0.0, LABELS), (1.0, np.array([*mirrored, *[0] * 252, 255])[LABELS[:, ::-1]])):
        augment = replace(PLAIN, hflip=hflip)
        train, _ = build_segmentation_transforms(replace(DATA, image_size=60), augment, CFG, mirrored)
        _, classes = train(image_of(LABELS), Image.fromarray(LABELS))
        shown = classes[:40] if hflip == 0 else classes[:40, -60:]
        assert np.array_equal(shown, expected)
    (plain, flipped) = build_variants(DATA, replace(PLAIN, hflip=0.5), CFG, mirrored)
    assert torch.equal(
        flipped(image_of(LABELS), Image.fromarray(LABELS))[1],
        mirrored_labels(plain(image_of(LABELS), Image.fromarray(LABELS))[1], mirrored),
    )
