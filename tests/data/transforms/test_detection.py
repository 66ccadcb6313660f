"""Joint transforms: boxes and masks stay on their objects, and sizes are those of App. C.2."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from mscsa.data.coco.masks import decode_segmentation
from mscsa.data.transforms.detection import (
    Objects,
    TrainObjects,
    boxes_around,
    build_detection_transforms,
    build_object_variants,
)
from mscsa.data.transforms.frame import Frame
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import DetectionAugment, DetectionData


def sample(height: int, width: int, boxes: list[tuple[int, int, int, int]]) -> tuple[Image.Image, Objects]:
    """An image whose objects are rectangles of brightness 100, 150, ...; the background is black."""
    pixels = np.zeros((height, width, 3), np.uint8)
    masks = np.zeros((len(boxes), height, width), bool)
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        pixels[y1:y2, x1:x2] = 100 + 50 * i
        masks[i, y1:y2, x1:x2] = True
    objects = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.arange(1, len(boxes) + 1),
        "masks": torch.from_numpy(masks.astype(np.uint8)),
    }
    return Image.fromarray(pixels), objects


def check(image: Tensor, objects: Objects, margin: int = 2) -> None:
    """Each object's pixels have its brightness, in its mask and inside its box, but for a blurred margin."""
    assert image.dtype == torch.float32 and objects["masks"].dtype == torch.uint8
    for label, box, mask in zip(objects["labels"], objects["boxes"], objects["masks"], strict=True):
        x1, y1, x2, y2 = (int(each) for each in box.round())
        assert x1 >= 0 and y1 >= 0 and x2 <= image.shape[2] and y2 <= image.shape[1]
        assert box[2] - box[0] >= 1 and box[3] - box[1] >= 1
        rows, columns = slice(y1 + margin, max(0, y2 - margin)), slice(x1 + margin, max(0, x2 - margin))
        inside = image[0, rows, columns]
        expected = (50 + 50 * float(label)) / 255
        if inside.numel():
            assert (inside - expected).abs().max() < 0.06
            assert mask[rows, columns].all()
        outside = mask.clone()
        outside[max(0, y1 - 1) : y2 + 1, max(0, x1 - 1) : x2 + 1] = False
        assert not outside.any()


BOXES = [(10, 20, 50, 60), (90, 30, 150, 95)]


@pytest.mark.parametrize("hflip", [0.0, 1.0])
def test_flips_and_sizes(hflip: float) -> None:
    data = DetectionData(kind="scenes", short_side=200, long_side=300)
    train, evaluate = build_detection_transforms(data, DetectionAugment(hflip=hflip))
    image, objects = sample(100, 160, BOXES)
    pixels, found = train(image, objects)
    assert pixels.shape == (3, 188, 300)  # the longer side sets the scale
    check(pixels, found)
    left = found["boxes"][0, 0]
    assert left == pytest.approx((160 - 50) * 1.875 if hflip else 10 * 1.875)
    assert found["labels"].tolist() == [1, 2]
    plain, same = evaluate(image, objects)
    assert plain.shape == (3, 188, 300) and same is objects
    assert (torch.equal(plain, pixels)) == (hflip == 0.0)


def test_multi_scale_draws_from_all_sides() -> None:
    """480 to 800 px in steps of 32, the longer side at most 1333: the paper's CoaT rows."""
    recipe = RECIPES["coco_mask_rcnn/mscsa_coat_tiny"]
    assert isinstance(recipe.augment, DetectionAugment) and isinstance(recipe.data, DetectionData)
    train, _ = build_detection_transforms(recipe.data, recipe.augment)
    torch.manual_seed(0)
    image, objects = sample(60, 80, [(10, 20, 50, 50)])
    shapes = set()
    for _ in range(60):
        pixels, found = train(image, objects)
        assert min(pixels.shape[1:]) in range(480, 801, 32)
        assert max(pixels.shape[1:]) <= 1333
        scale = pixels.shape[1] / 60
        flipped = [80 - 50, 20, 80 - 10, 50]
        box = found["boxes"][0] / scale
        assert any(
            torch.allclose(box, torch.tensor(each, dtype=torch.float32), atol=0.1)
            for each in ([10, 20, 50, 50], flipped)
        )
        shapes.add(pixels.shape[1])
    assert len(shapes) == 11


def test_a_panorama_keeps_to_the_long_side() -> None:
    data = DetectionData(kind="scenes")
    train, _ = build_detection_transforms(data, DetectionAugment(hflip=0.0))
    image, objects = sample(20, 200, [(5, 5, 15, 15)])
    pixels, found = train(image, objects)
    assert pixels.shape == (3, 133, 1333)
    check(pixels, found, margin=7)


def test_crops_drop_what_lies_outside() -> None:
    data = DetectionData(kind="scenes", short_side=100, long_side=200)
    augment = DetectionAugment(crop_sides=(20, 50), crop_short_sides=(80, 120))
    train, _ = build_detection_transforms(data, augment)
    random.seed(0)
    torch.manual_seed(0)
    image, objects = sample(100, 160, BOXES)
    counts, ratios = set(), set()
    for _ in range(60):
        pixels, found = train(image, objects)
        check(pixels, found, margin=8)
        counts.add(len(found["labels"]))
        ratios.add(pixels.shape[1] / pixels.shape[2])
    assert counts == {0, 1, 2}
    assert len(ratios) > 20 and 0.625 in ratios  # half of the images are not cropped


def test_images_without_objects_pass() -> None:
    data = DetectionData(kind="scenes", short_side=64, long_side=96)
    train, _ = build_detection_transforms(data, DetectionAugment(crop_sides=(20, 40), crop_short_sides=(50,)))
    image, objects = sample(40, 60, [])
    for _ in range(10):
        _, found = train(image, objects)
        assert found["boxes"].shape == (0, 4) and found["labels"].shape == (0,)
        assert found["masks"].shape[0] == 0


def test_objects_that_vanish_are_dropped() -> None:
    data = DetectionData(kind="scenes", short_side=20, long_side=40)
    train, _ = build_detection_transforms(data, DetectionAugment(hflip=0.0))
    image, objects = sample(100, 160, [(10, 10, 12, 12), BOXES[1]])
    _, found = train(image, objects)
    assert found["labels"].tolist() == [2]
    assert len(found["masks"]) == len(found["boxes"]) == 1


def test_variants_are_what_training_may_draw() -> None:
    """Shorter sides, each mirrored or not: objects are moved, resized and dropped along."""
    data = DetectionData(kind="scenes", short_side=100, long_side=300)
    augment = DetectionAugment(hflip=0.5, short_sides=(20, 100))
    image, objects = sample(100, 160, [(10, 10, 12, 12), BOXES[1]])
    made = [each(image, objects) for each in build_object_variants(data, augment)]
    assert [pixels.shape for pixels, _ in made] == [(3, 20, 32)] * 2 + [(3, 100, 160)] * 2
    assert [found["labels"].tolist() for _, found in made] == [[2], [2], [1, 2], [1, 2]]
    assert [found["boxes"][-1, 0].item() for _, found in made] == [18, 2, 90, 10]
    for pixels, found in made[2:]:
        check(pixels, found)
    for variant, hflip, side in zip(range(4), (0.0, 1.0) * 2, (20, 20, 100, 100), strict=True):
        drawn = build_detection_transforms(data, DetectionAugment(hflip=hflip, short_sides=(side,)))[0]
        pixels, found = drawn(image, objects)
        assert torch.equal(pixels, made[variant][0])
        assert all(torch.equal(found[name], made[variant][1][name]) for name in found)


def test_without_flips_and_sides_there_is_one_variant() -> None:
    data = DetectionData(kind="scenes", short_side=200, long_side=300)
    (variant,) = build_object_variants(data, DetectionAugment(hflip=0.0))
    pixels, found = variant(*sample(100, 160, BOXES))
    assert pixels.shape == (3, 188, 300)
    check(pixels, found)


def ellipses(size: tuple[int, int], count: int, seed: int) -> list[list[float]]:
    """Outlines of ellipses of 6 to 40 px, turned any way, inside an image of (H, W)."""
    rng = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    outlines = []
    for _ in range(count):
        a, b, turn = *rng.uniform(3, 20, 2), rng.uniform(0, np.pi)
        y, x = rng.uniform(22, size[0] - 22), rng.uniform(22, size[1] - 22)
        u, v = a * np.cos(angles), b * np.sin(angles)
        points = [x + u * np.cos(turn) - v * np.sin(turn), y + u * np.sin(turn) + v * np.cos(turn)]
        outlines.append(np.stack(points, axis=1).ravel().tolist())
    return outlines


@pytest.mark.parametrize("short_side", [100, 180, 431])
@pytest.mark.parametrize("hflip", [0.0, 1.0])
def test_a_masks_centre_stays_that_of_its_object(short_side: int, hflip: float) -> None:
    """Drawn at the final size from polygons; sampled where it comes as pixels. Nothing is shifted."""
    size = (200, 260)
    outlines = ellipses(size, 40, seed=0)
    points = torch.tensor(outlines).reshape(40, -1, 2)
    boxes = torch.cat([points.amin(1), points.amax(1)], dim=1)
    transform = TrainObjects(short_sides=(short_side,), long_side=2000, hflip=hflip)

    def draw(frame: Frame, chosen: list[int]) -> Tensor:
        drawn = [decode_segmentation([outlines[i]], size, frame) for i in chosen]
        return torch.from_numpy(np.stack(drawn).astype(np.uint8))

    whole = draw(Frame.whole(size), list(range(40)))
    for masks in (draw, whole):
        _, found = transform(
            Image.new("RGB", size[::-1]), {"boxes": boxes, "labels": torch.arange(40), "masks": masks}
        )
        assert found["labels"].tolist() == list(range(40))
        shifts = []
        for box, mask in zip(found["boxes"], found["masks"], strict=True):
            y, x = (each.float().mean() + 0.5 for each in torch.where(mask))
            shifts.append(torch.stack([x, y]) - (box[:2] + box[2:]) / 2)
        assert torch.stack(shifts).mean(0).abs().max() < 0.12


def test_crops_keep_no_object_without_a_pixel_and_boxes_fit() -> None:
    """An L has a large box, most of which is empty."""
    mask = torch.zeros(1, 64, 96, dtype=torch.uint8)
    mask[0, 5:60, 5:10] = mask[0, 55:60, 5:90] = 1
    objects = {"boxes": torch.tensor([[5.0, 5, 90, 60]]), "labels": torch.tensor([1]), "masks": mask}
    data = DetectionData(kind="scenes", short_side=64, long_side=128)
    augment = DetectionAugment(hflip=0.0, crop_sides=(20, 40), crop_short_sides=(64,))
    train, _ = build_detection_transforms(data, augment)
    torch.manual_seed(0)
    counts = set()
    for _ in range(100):
        _, found = train(Image.new("RGB", (96, 64)), objects)
        assert found["masks"].flatten(1).any(1).all()
        assert torch.allclose(found["boxes"], boxes_around(found["masks"]), atol=1.0)
        counts.add(len(found["labels"]))
    assert counts == {0, 1}


AUGMENTED = {
    "vflip": DetectionAugment(hflip=0.0, vflip=1.0),
    "turns": DetectionAugment(hflip=0.5, quarter_turns=0.8),
    "scale": DetectionAugment(hflip=0.5, scale=(0.4, 2.5)),
    "all": DetectionAugment(
        vflip=0.5, quarter_turns=0.5, scale=(0.5, 2.0), crop_sides=(60, 90), crop_short_sides=(100,)
    ),
}


@pytest.mark.parametrize("name", AUGMENTED)
def test_a_masks_box_is_the_box(name: str) -> None:
    """After every transform; masks of tight objects are drawn in the sample, boxes are moved there."""
    train, _ = build_detection_transforms(
        DetectionData(kind="scenes", short_side=100, long_side=160), AUGMENTED[name]
    )
    torch.manual_seed(0)
    shapes = set()
    for _ in range(40):
        image, objects = sample(100, 160, BOXES)
        pixels, found = train(image, objects)
        check(pixels, found, margin=6)
        assert torch.allclose(boxes_around(found["masks"]), found["boxes"], atol=1.0)
        assert max(pixels.shape[1:]) <= 160
        shapes.add(tuple(pixels.shape[1:]))
    assert len(shapes) > {"vflip": 0, "turns": 1, "scale": 8, "all": 8}[name]


def test_scale_jitter_cuts_what_is_larger_at_random_and_leaves_what_is_smaller() -> None:
    data, augment = DetectionData(kind="scenes", short_side=50, long_side=80), DetectionAugment(hflip=0.0)
    torch.manual_seed(0)
    image, objects = sample(100, 160, BOXES)
    larger = TrainObjects(short_sides=(50,), long_side=80, hflip=0.0, scale=(2.0, 2.0))
    lefts = set()
    for _ in range(30):
        pixels, found = larger(image, objects)
        assert pixels.shape == (3, 50, 80)
        lefts |= {
            box[0] for box, label in zip(found["boxes"].tolist(), found["labels"], strict=True) if label == 2
        }
    assert len(lefts) > 8
    smaller = build_detection_transforms(data, replace(augment, scale=(0.5, 0.5)))[0]
    pixels, found = smaller(image, objects)
    assert pixels.shape == (3, 25, 40) and torch.allclose(found["boxes"], objects["boxes"] / 4)
    assert larger.largest_scale((100, 160)) == 1.0 and smaller.largest_scale((100, 160)) == 0.25


def test_colours_change_and_nothing_else() -> None:
    data = DetectionData(kind="scenes", short_side=100, long_side=160)
    image, objects = sample(100, 160, BOXES)
    plain, found = build_detection_transforms(data, DetectionAugment(hflip=0.0))[0](image, objects)
    bright = build_detection_transforms(data, DetectionAugment(hflip=0.0, photometric=True))[0]
    random.seed(1)
    changed = [bright(image, objects) for _ in range(8)]
    assert sum(not torch.equal(each, plain) for each, _ in changed) > 4
    assert all(torch.equal(each["boxes"], found["boxes"]) for _, each in changed)


def test_what_is_off_draws_nothing() -> None:
    """Runs without it see what they saw before it was there: one number for the flip, one for the side."""
    data = DetectionData(kind="scenes", short_side=100, long_side=160)
    torch.manual_seed(0)
    build_detection_transforms(data, DetectionAugment())[0](*sample(100, 160, BOXES))
    then = torch.rand(1)
    torch.manual_seed(0)
    torch.rand(1)
    torch.randint(1, ())
    assert torch.equal(torch.rand(1), then)


def test_a_mirror_image_makes_other_classes_where_they_are_given() -> None:
    """A left door is a right door there; cut and resized it stays what it is."""
    image, objects = sample(40, 60, [(2, 2, 20, 20), (30, 10, 50, 30)])
    for probability, expected in ((0.0, [1, 2]), (1.0, [2, 1])):
        train = TrainObjects(short_sides=(40,), long_side=100, hflip=probability)
        _, found = train(image, {**objects, "mirrored_labels": torch.tensor([2, 1])})
        assert found["labels"].tolist() == expected and "mirrored_labels" not in found
        assert train(image, objects)[1]["labels"].tolist() == [1, 2]
