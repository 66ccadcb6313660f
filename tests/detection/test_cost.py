"""Detectors with a fixed workload: what is counted, and what is timed, depends on no weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mscsa.cost.model_info import count_model
from mscsa.detection import Detector, build_detector
from mscsa.detection.cost import fix_workload, run_fixed

SIZE = (64, 96)
FPN = 32
TWO_STAGE = ("mask_rcnn", "cascade_mask_rcnn")


def small(name: str, seed: int = 0, **options: Any) -> Detector:
    torch.manual_seed(seed)
    if name == "deformable_detr":
        options = {"num_queries": 20, "encoder_layers": 1, "decoder_layers": 2, **options}
    else:
        options = {"fpn_channels": FPN, **options}
    return build_detector(name, "mscsa_test_resnet", 3, budget=0.5, fields={"pool_stride": 8}, **options)


@pytest.mark.parametrize("name", ["mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr"])
def test_count_depends_on_neither_weights_nor_mode_and_leaves_the_model_alone(name: str) -> None:
    detector = small(name)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    macs = count_model(detector, SIZE)
    assert macs == count_model(detector, SIZE) == count_model(small(name, seed=1).eval(), SIZE)
    assert detector.training and all(p.requires_grad for p in detector.parameters())
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())


@pytest.mark.parametrize("name", TWO_STAGE)
def test_count_depends_on_no_number_of_proposals(name: str) -> None:
    few = small(name, proposals=7, detections_per_img=3, score_thresh=0.9)
    assert count_model(few, SIZE) == count_model(small(name), SIZE)


def test_parts_of_a_small_mask_rcnn_by_hand() -> None:
    detector = small("mask_rcnn")
    height, width = SIZE
    levels = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    places = [h * w for h, w in levels]
    fpn = sum(n * (c * FPN + 9 * FPN**2) for n, c in zip(places, (32, 48, 192, 96), strict=True))
    anchors = 3
    rpn = (sum(places) + 1 * 2) * (9 * FPN**2 + FPN * anchors * 5)  # the coarsest map is 1x2
    hidden, classes = 1024, 4
    box_head = 1000 * (49 * FPN * hidden + hidden**2 + hidden * classes * 5)
    mask_head = 100 * (14**2 * (4 * 9 + 4) * FPN**2 + 28**2 * FPN * classes)
    pyramid = count_model(detector.pyramid, SIZE)
    assert count_model(detector, SIZE) == pyramid + fpn + rpn + box_head + mask_head


def test_images_are_padded_as_they_are_in_use() -> None:
    detector = small("retinanet").eval()
    assert count_model(detector, (40, 65)) == count_model(detector, SIZE)


def test_run_fixed_takes_several_images() -> None:
    detector = small("mask_rcnn").eval()
    seen = watch(detector.net, "box_head", "mask_head")
    with torch.no_grad():
        run_fixed(detector.to("meta"), torch.empty(2, 3, *SIZE, device="meta"))
    assert seen == {"box_head": [2000], "mask_head": [200]}


@pytest.mark.parametrize("name", TWO_STAGE)
@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_in_inference(name: str, seed: int) -> None:
    # So many that the boxes overlap.
    detector = small(name, seed, proposals=1000, detections_per_img=300, score_thresh=0.5).eval()
    images = [torch.rand(3, *SIZE) for _ in range(2)]
    seen = watch(detector.net, "box_head", "mask_head")
    with torch.no_grad():
        chance = detector(images)
        assert sum(len(each["boxes"]) for each in chance) == 0  # nothing is sure, no mask head runs
        assert max(seen["box_head"]) < 2 * 1000
        fix_workload(detector, 4)
        fixed = watch(detector.net, "box_head", "mask_head")
        found = detector(images)
    stages = 3 if name == "cascade_mask_rcnn" else 1
    assert fixed == {"box_head": [2 * 1000] * stages, "mask_head": [2 * 300] * stages}
    assert [tuple(each["masks"].shape) for each in found] == [(300, 1, *SIZE)] * 2


@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_of_retinanet(seed: int) -> None:
    places = 8 * 12 + 4 * 6 + 2 * 3 + 1 * 2 + 1
    detector = small("retinanet", seed, detections_per_img=places).eval()
    fix_workload(detector, 4)
    with torch.no_grad():
        found = detector([torch.rand(3, *SIZE)])
    assert len(found[0]["boxes"]) == places
    assert set(found[0]["labels"].tolist()) == {1}


@pytest.mark.parametrize("name", TWO_STAGE)
@pytest.mark.parametrize("seed", [0, 1])
def test_fixed_workload_in_training(name: str, seed: int) -> None:
    detector = small(name, seed, proposals=100)
    # Large objects, on which many proposals lie.
    boxes = torch.tensor([[0.0, 0.0, 48.0, 64.0], [48.0, 0.0, 96.0, 64.0]])
    target = {"boxes": boxes, "labels": torch.tensor([1, 2]), "masks": torch.ones(2, *SIZE)}
    fix_workload(detector, len(boxes))
    seen = watch(detector.net, "mask_head")
    losses = detector([torch.rand(3, *SIZE) for _ in range(2)], [target] * 2)
    assert seen == {"mask_head": [2 * 2] * (3 if name == "cascade_mask_rcnn" else 1)}
    assert all(bool(loss.isfinite()) for loss in losses.values())


def watch(net: nn.Module, *names: str) -> dict[str, list[int]]:
    """Note how many boxes the modules of these names are called with."""
    seen: dict[str, list[int]] = {name: [] for name in names}
    for path, module in net.named_modules():
        name = path.rpartition(".")[2]
        if name in names:

            def note(_: nn.Module, inputs: tuple[Tensor, ...], name: str = name) -> None:
                seen[name].append(len(inputs[0]))

            module.register_forward_pre_hook(note)
    return seen
