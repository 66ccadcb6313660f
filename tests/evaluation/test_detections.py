"""What a detector finds is brought to each image's own pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mscsa.data.coco.masks import decode_segmentation
from mscsa.detection import build_detector
from mscsa.detection.mask_head import paste_masks
from mscsa.evaluation.detections import MASK_THRESHOLD, find_objects

CPU = torch.device("cpu")


class Finds(nn.Module):
    """A detector that finds the upper left quarter of each image, `count` times."""

    def __init__(self, count: int = 1, *, with_masks: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.count = count
        self.with_masks = with_masks

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        answers = []
        for image in images:
            height, width = image.shape[-2:]
            box = torch.tensor([[0.0, 0.0, width / 2, height / 2]]).repeat(self.count, 1)
            labels, scores = torch.full((self.count,), 3), torch.full((self.count,), 0.5)
            answer = {"boxes": box, "labels": labels, "scores": scores}
            if self.with_masks:
                masks = torch.zeros(self.count, 1, height, width)
                masks[..., : height // 2, : width // 2] = 1
                answer["masks"] = masks
            answers.append(answer)
        return answers


def test_boxes_and_masks_are_those_of_the_images_own_size() -> None:
    images = [torch.rand(3, 40, 60), torch.rand(3, 32, 32)]
    sizes = [(20, 90), (32, 32)]
    found = find_objects(Finds(), images, sizes, device=CPU)
    for each, (height, width) in zip(found, sizes, strict=True):
        assert each.boxes.tolist() == [[0, 0, width / 2, height / 2]]
        assert each.labels.tolist() == [3] and each.scores.tolist() == [0.5]
        assert each.boxes.dtype == np.float32 and each.labels.dtype == np.int64
        assert each.masks is not None
        mask = decode_segmentation(each.masks[0], (height, width))
        expected = np.zeros((height, width), bool)
        expected[: height // 2, : width // 2] = True
        assert np.array_equal(mask, expected)


def test_a_detectors_masks_are_pasted_once_at_the_images_own_size() -> None:
    """Not at the resized size, in whole pixels of it, and then once more."""
    model = build_detector(
        "mask_rcnn", "resnet10t", 3, fpn_channels=16, score_thresh=0.0, detections_per_img=4
    ).eval()
    image, size = torch.rand(3, 64, 96), (40, 60)
    (found,) = find_objects(model, [image], [size], device=CPU)
    with torch.inference_mode():
        (inside,) = model.find([image])
    assert found.masks is not None and len(found.masks) == len(inside["masks"]) > 0
    own = inside["boxes"] * torch.tensor([60 / 96, 40 / 64]).repeat(2)
    expected = paste_masks(inside["masks"], own, size)[:, 0] >= MASK_THRESHOLD
    for encoded, mask in zip(found.masks, expected, strict=True):
        assert np.array_equal(decode_segmentation(encoded, size), mask.numpy())


def test_many_masks_are_all_there() -> None:
    (found,) = find_objects(Finds(37), [torch.rand(3, 16, 16)], [(8, 8)], device=CPU)
    assert found.masks is not None and len(found.masks) == len(found.boxes) == 37


@pytest.mark.parametrize("with_masks", [True, False])
def test_an_empty_answer_has_shapes(with_masks: bool) -> None:
    (found,) = find_objects(Finds(0, with_masks=with_masks), [torch.rand(3, 16, 16)], [(8, 8)], device=CPU)
    assert found.boxes.shape == (0, 4) and found.labels.shape == found.scores.shape == (0,)
    assert found.masks == (() if with_masks else None)


def test_images_take_the_models_dtype() -> None:
    class Halves(Finds):
        def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
            assert all(image.dtype == torch.float64 for image in images)
            return super().forward(images)

    (found,) = find_objects(Halves().double(), [torch.rand(3, 16, 16)], [(8, 8)], device=CPU)
    assert found.boxes.dtype == np.float32
