"""What is chosen in numpy is what the detectors themselves choose."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchvision.ops import batched_nms

from mscsa.export.graphs import build_graphs
from mscsa_runtime.metadata import Sizes
from mscsa_runtime.predictions import find_objects
from mscsa_runtime.selection import clip, nms
from tests.detection.small import VARIANTS, batch, small, wake
from tests.export.eager import EagerArtifact

SIZE = (96, 128)


@pytest.mark.parametrize("name", VARIANTS)
def test_each_detector_finds_the_same_in_a_batch_of_two_sizes(name: str) -> None:
    detector = small(name)
    wake(detector)
    detector.eval()
    sizes = Sizes(height=SIZE[0], width=SIZE[1])
    artifact = EagerArtifact(build_graphs(detector, SIZE), detector, "detection", sizes)
    images, _ = batch((*SIZE, 2), (70, 100, 1))
    with torch.no_grad():
        wanted = detector.find(images)
    padded, _ = detector.net.transform(images)  # type: ignore[operator]
    found = find_objects(artifact, padded.tensors.numpy(), [SIZE, (70, 100)])
    for one, other in zip(found, wanted, strict=True):
        assert len(other["labels"]) > 0
        np.testing.assert_array_equal(one.labels, other["labels"])
        np.testing.assert_allclose(one.scores, other["scores"], rtol=0, atol=1e-6)
        np.testing.assert_allclose(one.boxes, other["boxes"], rtol=0, atol=1e-3)
        assert (one.cells is None) == ("masks" not in other)
        if one.cells is not None:
            np.testing.assert_allclose(one.cells, other["masks"][:, 0], rtol=0, atol=1e-5)


def test_images_without_a_proposal_have_no_object() -> None:
    detector = small("mask_rcnn").eval()
    sizes = Sizes(height=SIZE[0], width=SIZE[1])
    artifact = EagerArtifact(build_graphs(detector, SIZE), detector, "detection", sizes)
    artifact.metadata.selection["least_proposal"] = 1000
    found = find_objects(artifact, np.zeros((2, 3, *SIZE), np.float32), [SIZE, SIZE])
    assert [each.boxes.shape for each in found] == [(0, 4)] * 2
    assert found[0].cells is not None and found[0].cells.shape == (0, 28, 28)


def test_overlapping_boxes_are_left_out_as_torchvision_does() -> None:
    generator = torch.Generator().manual_seed(0)
    corners = 40 * torch.rand(300, 2, generator=generator)
    boxes = torch.cat([corners, corners + 5 + 20 * torch.rand(300, 2, generator=generator)], dim=1)
    scores, groups = torch.rand(300, generator=generator), torch.randint(0, 3, (300,), generator=generator)
    wanted = batched_nms(boxes, scores, groups, 0.5)
    assert 3 < len(wanted) < 300
    np.testing.assert_array_equal(nms(boxes.numpy(), scores.numpy(), groups.numpy(), 0.5), wanted)
    assert nms(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), 0.5).shape == (
        0,
    )


def test_boxes_end_at_the_edges_of_the_image() -> None:
    boxes = np.float32([[-1, -2, 50, 60]])
    np.testing.assert_array_equal(clip(boxes, np.float32([30, 40])), [[0, 0, 40, 30]])
