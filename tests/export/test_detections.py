"""What an exported detector finds is drawn as what a detector finds."""

from __future__ import annotations

from PIL import Image

from mscsa.data.coco.masks import decode_segmentation
from mscsa.export.detections import find_detections
from mscsa.export.graphs import build_graphs
from mscsa_runtime.metadata import Sizes
from tests.detection.small import small, wake
from tests.export.eager import EagerArtifact


def test_masks_are_run_lengths_at_the_images_own_size() -> None:
    detector = small("mask_rcnn")
    wake(detector)
    detector.eval()
    how = {"preprocessing": {"short_side": 64, "long_side": 96}}
    graphs = build_graphs(detector, (64, 96))
    artifact = EagerArtifact(graphs, detector, "instance_segmentation", Sizes(height=64, width=96), **how)
    found = find_detections(artifact, Image.new("RGB", (120, 100), "red"))
    assert found.masks is not None and len(found.masks) == len(found.boxes) == 5
    assert decode_segmentation(found.masks[0], (100, 120)).shape == (100, 120)
    assert found.boxes[:, 0::2].max() <= 120 and found.boxes[:, 1::2].max() <= 100
