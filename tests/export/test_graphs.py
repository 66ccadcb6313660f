"""Graphs give what the models give, before anything is traced."""

from __future__ import annotations

import pytest
import torch

from mscsa.export.graphs import build_graphs, build_pyramid_graphs
from mscsa.graphs import random_images
from tests.detection.small import small as small_detector
from tests.segmentation.small import small

SIZE = (64, 96)


@pytest.mark.parametrize(
    ("head", "backbone"), [("semantic_fpn", "mscsa_test_resnet"), ("topformer_head", "topformer_tiny")]
)
def test_a_segmenter_without_its_padding_is_the_same_on_whole_strides(head: str, backbone: str) -> None:
    model = small(head, backbone).eval()
    graphs = build_graphs(model, SIZE)
    (images,) = random_images(2, SIZE)
    with torch.no_grad():
        assert torch.equal(graphs.graphs[0].module(images), model(images))
    assert graphs.step == model.size_divisor == 32 and not graphs.has_one_size


def test_a_pyramids_maps_are_named_by_their_strides() -> None:
    model = small("semantic_fpn", "mscsa_test_resnet").eval()
    graphs = build_pyramid_graphs(model.backbone)
    (images,) = random_images(1, SIZE)
    with torch.no_grad():
        found, wanted = graphs.graphs[0].module(images), model.backbone(images)
    assert graphs.graphs[0].outputs == ("stride4", "stride8", "stride16", "stride32")
    assert all(torch.equal(one, other) for one, other in zip(found, wanted, strict=True))


def test_a_mask_heads_example_has_all_classes() -> None:
    graphs = build_graphs(small_detector("mask_rcnn").eval(), SIZE)
    rois, labels, *maps = graphs.graphs[2].example(2, SIZE)
    assert (
        labels.tolist() == [1, 2, 3, 1, 2, 3, 1, 2, 3, 1] and rois.shape == (10, 5) and maps[0].shape[0] == 2
    )
