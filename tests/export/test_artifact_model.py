"""An exported model is scored as the model itself is."""

from __future__ import annotations

import torch

from mscsa.export.artifact_model import ArtifactModel
from mscsa.export.graphs import build_graphs
from mscsa_runtime.metadata import Sizes
from tests.detection.small import batch, wake
from tests.detection.small import small as small_detector
from tests.export.eager import EagerArtifact
from tests.segmentation.small import small

FIXED = Sizes(height=64, width=96)


def test_a_segmenters_logits_are_those_of_the_padded_image() -> None:
    model = small("semantic_fpn", "test_resnet").eval()
    artifact = EagerArtifact(build_graphs(model, (64, 96)), model, "segmentation", FIXED)
    images = torch.rand(2, 3, 50, 96)
    with torch.no_grad():
        torch.testing.assert_close(ArtifactModel(artifact)(images), model(images))
    assert ArtifactModel(artifact)(torch.rand(1, 3, 128, 100)).shape == (1, 5, 128, 100)


def test_a_detectors_boxes_are_in_the_pixels_of_what_was_given() -> None:
    detector = small_detector("mask_rcnn")
    wake(detector)
    detector.eval()
    artifact = EagerArtifact(build_graphs(detector, (64, 96)), detector, "instance_segmentation", FIXED)
    model = ArtifactModel(artifact)
    images, _ = batch((64, 96, 2), (128, 192, 1))
    with torch.no_grad():
        (wanted,) = detector.find(images[:1])
    whole, larger = model(images)
    torch.testing.assert_close(whole["boxes"], wanted["boxes"], rtol=0, atol=1e-3)
    torch.testing.assert_close(whole["masks"], wanted["masks"], rtol=0, atol=1e-5)
    assert 96 < float(larger["boxes"].max()) <= 192 and model.detections_per_img == 5
