"""Anchors of one size are laid once."""

from __future__ import annotations

import torch

from mscsa.detection.anchor_graph import AnchorGraph
from tests.detection.small import small


def test_every_anchor_has_a_box() -> None:
    net = small("retinanet").eval().net
    graph = AnchorGraph(net, (64, 96))
    counts = graph.selection()["anchors_per_level"]
    assert counts == [9 * 8 * 12, 9 * 4 * 6, 9 * 2 * 3, 9 * 1 * 2, 9 * 1 * 1]
    with torch.no_grad():
        logits, boxes = graph(torch.rand(3, 3, 64, 96))
    assert logits.shape == (3, sum(counts), 3) and boxes.shape == (3, sum(counts), 4)
