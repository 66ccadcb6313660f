"""What a Deformable DETR answers does not depend on what lies beside an image."""

from __future__ import annotations

import torch

from mscsa.detection.query_graph import QueryGraph
from tests.detection.small import small


def test_padding_is_no_image() -> None:
    net = small("deformable_detr").eval().net
    graph = QueryGraph(net, (64, 96))
    images = torch.rand(2, 3, 64, 96)
    sizes = torch.tensor([[64.0, 96.0], [48.0, 72.0]])
    with torch.no_grad():
        logits, boxes = graph(images, sizes)
        mask = torch.zeros(2, 64, 96, dtype=torch.long)
        mask[0], mask[1, :48, :72] = 1, 1
        wanted = net.layers(images, mask)
        whole, _ = graph(images, sizes[:1].expand(2, 2))
    assert logits.shape == (2, 12, 3) and boxes.shape == (2, 12, 4)
    assert torch.equal(logits, wanted[0][-1]) and torch.equal(boxes, wanted[1][-1])
    assert torch.equal(logits[0], whole[0]) and not torch.equal(logits[1], whole[1])
