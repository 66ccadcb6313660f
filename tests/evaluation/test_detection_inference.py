"""Tiles and mirror images: each object is found once, whole, where it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from mscsa.data.coco.masks import decode_segmentation, encode_masks
from mscsa.data.transforms.detection import untouched
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import InstanceScores, measure_detection
from mscsa.evaluation.detection_inference import DetectionInference, InViews, merged
from mscsa.evaluation.detections import Detections
from tests.evaluation.sided import BOXES, SideFinder
from tests.evaluation.sided import scene as sided_scene

SIZE = (300, 200)
OBJECTS = [(10, 20, 30, 50), (88, 92, 112, 104), (250, 150, 299, 199), (40, 60, 260, 180)]
"""The second lies on borders of tiles of 100 px; the last is larger than a tile."""


def scene() -> Image.Image:
    """Objects of brightness 60, 110, ... on black, each with its left half darker by 10."""
    pixels = np.zeros((SIZE[1], SIZE[0]), np.uint8)
    for i, (x1, y1, x2, y2) in reversed(list(enumerate(OBJECTS))):
        pixels[y1:y2, x1:x2] = 60 + 50 * i
        pixels[y1:y2, x1 : (x1 + x2) // 2] -= 10
    return Image.fromarray(pixels).convert("RGB")


def find(image: Image.Image) -> Detections:
    """Find what there is of each object; the smaller a view, the surer: parts are surer than the whole."""
    values = np.asarray(image)[..., 0].astype(int)
    boxes, labels, scores, masks = [], [], [], []
    for i in range(len(OBJECTS)):
        mask = np.isin(values, (60 + 50 * i, 50 + 50 * i))
        if mask.any():
            ys, xs = np.where(mask)
            boxes.append((xs.min(), ys.min(), xs.max() + 1, ys.max() + 1))
            labels.append(1 + i % 2)
            scores.append(0.9 - 0.1 * i - image.width * image.height / 1e7)
            masks.append(mask)
    order = np.argsort(-np.array(scores))
    return Detections(
        boxes=np.array(boxes, np.float32).reshape(-1, 4)[order],
        labels=np.array(labels, np.int64)[order],
        scores=np.array(scores, np.float32)[order],
        masks=tuple(encode_masks(np.array(masks))[i] for i in order) if masks else (),
    )


@pytest.mark.parametrize(
    "inference",
    [DetectionInference(flip=True), DetectionInference(tile=100), DetectionInference(tile=120, flip=True)],
    ids=["flip", "tiles", "both"],
)
def test_each_object_is_found_once_and_whole(inference: DetectionInference) -> None:
    image = scene()
    plain, found = find(image), inference(find, image)
    assert len(found.scores) == len(OBJECTS) and (np.diff(found.scores) <= 0).all()
    places = [int(np.abs(found.boxes - box).sum(axis=1).argmin()) for box in plain.boxes]
    assert sorted(places) == list(range(len(OBJECTS)))
    assert np.array_equal(found.boxes[places], plain.boxes)
    assert np.array_equal(found.labels[places], plain.labels)
    assert found.masks is not None and plain.masks is not None
    for place, mask in zip(places, plain.masks, strict=True):
        own = (SIZE[1], SIZE[0])
        assert np.array_equal(decode_segmentation(found.masks[place], own), decode_segmentation(mask, own))


class Finder(nn.Module):
    """`find` under the contract of detectors."""

    detections_per_img = 100

    def __init__(self) -> None:
        super().__init__()
        self.precision = nn.Parameter(torch.zeros(()))

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        found = []
        for image in images:
            each = find(to_pil_image(image))
            masks = [decode_segmentation(mask, tuple(image.shape[-2:])) for mask in each.masks or ()]
            found.append(
                {
                    "boxes": torch.from_numpy(each.boxes),
                    "labels": torch.from_numpy(each.labels),
                    "scores": torch.from_numpy(each.scores),
                    "masks": torch.from_numpy(np.array(masks, np.float32)).reshape(-1, 1, *image.shape[-2:]),
                }
            )
        return found


@pytest.mark.parametrize(
    "inference", [DetectionInference(tile=100), DetectionInference(tile=90, overlap=50, flip=True)]
)
def test_what_tiles_cut_is_scored_whole(inference: DetectionInference) -> None:
    """A detector of single views that finds all gets 100 of boxes and of masks, whatever borders cut."""
    values = np.asarray(scene())[..., 0]
    annotations = []
    for i in range(len(OBJECTS)):
        mask = np.isin(values, (60 + 50 * i, 50 + 50 * i))
        ys, xs = np.where(mask)
        box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
        annotations.append(
            {"id": i + 1, "image_id": 7, "category_id": 1 + i % 2, "bbox": box, "area": int(mask.sum())}
            | {"iscrowd": 0, "segmentation": encode_masks(mask[None])[0]}
        )
    truth = {
        "images": [{"id": 7, "file_name": "a.png", "height": SIZE[1], "width": SIZE[0]}],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}],
    }
    dataset: Any = SimpleNamespace(ground_truth=lambda: truth, category_ids=[1, 2], class_names=["a", "b"])
    pixels, _ = untouched(scene(), {})
    loader: Any = [([pixels], [{"image_id": 7, "size": (SIZE[1], SIZE[0])}], torch.tensor([0]))]
    views = InViews(inference, lambda image, _: (pil_to_tensor(image).float() / 255, {}))
    found = measure_detection(
        Finder(), loader, dataset=dataset, device=torch.device("cpu"), with_masks=True, views=views
    )
    assert isinstance(found, InstanceScores) and (found.ap, found.mask_ap) == pytest.approx((100, 100))


def test_a_mirror_image_swaps_left_and_right() -> None:
    """A detector that is exact on both sides finds each object once, by its own name."""

    def found(**options: Any) -> Detections:
        look = InViews(DetectionInference(**options), lambda image, _: (pil_to_tensor(image) / 255, {}))
        return look(SideFinder().eval(), sided_scene(), device=torch.device("cpu"))

    for flip in (False, True):
        each = found(flip=flip, mirrored=(1, 0))
        order = each.labels.argsort()
        assert each.labels[order].tolist() == [1, 2] and np.array_equal(each.boxes[order], np.array(BOXES))
    assert len(found(flip=True).labels) == 4


def test_views_are_the_whole_and_tiles_that_cover_it() -> None:
    views = DetectionInference(tile=100, overlap=20).views((260, 150))
    assert views[0].box == (0, 0, 260, 150) and len(views) == 1 + 3 * 2
    covered = np.zeros((150, 260), int)
    for view in views[1:]:
        left, top, right, bottom = view.box
        assert (right - left, bottom - top) == (100, 100)
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1
    assert len(DetectionInference(tile=300).views((260, 150))) == 1
    assert [view.box for view in DetectionInference(tile=200).views((260, 150))][1:] == [
        (0, 0, 200, 150),
        (60, 0, 260, 150),
    ]


def test_overlapping_objects_stay_and_parts_go() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [4, 0, 14, 10], [0, 0, 5, 10], [0, 0, 10, 9], [0, 0, 10, 10]], np.float32
    )
    labels = np.array([1, 1, 1, 1, 2])
    scores = np.array([0.5, 0.4, 0.9, 0.3, 0.2], np.float32)
    is_cut = np.array([False, False, True, False, False])
    # A part of the first, however sure, and the same again; the neighbour overlaps by 0.43, the last is of
    # another class.
    assert merged(boxes, labels, scores, is_cut).tolist() == [0, 1, 4]
    # By itself a part is all there is of an object.
    assert merged(boxes[2:3], labels[2:3], scores[2:3], is_cut[2:3]).tolist() == [0]


def test_nothing_found_is_nothing() -> None:
    blank = Image.new("RGB", SIZE)
    assert DetectionInference(tile=100)(find, blank).masks == ()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": 10}, "overlap 10 without tile"),
        ({"tile": 0}, "tile 0 is not possible"),
        ({"tile": 50, "overlap": 50}, "overlap 50 of tiles of 50 px: give 0 to 49"),
    ],
)
def test_what_is_not_possible_is_one_line(options: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=message):
        DetectionInference(**options)  # type: ignore[arg-type]
