"""Graphs are traced with any batch."""

from __future__ import annotations

import pytest
import torch
from timm.layers import Conv2dSame
from torch import Tensor, nn

from mscsa.errors import UserError
from mscsa.export.programs import trace
from mscsa.graphs import IMAGES, Graph, random_images


class Halves(nn.Module):
    """Cuts images in two, and does what depends on their values if it is to."""

    def __init__(self, is_branched: bool) -> None:
        super().__init__()
        self.is_branched = is_branched

    def forward(self, images: Tensor) -> Tensor:
        if self.is_branched and images.sum() > 0:
            images = -images
        return images[..., : images.shape[-1] // 2] * 2


def graph(is_branched: bool) -> Graph:
    return Graph(
        name="model",
        module=Halves(is_branched),
        axes={"images": IMAGES},
        outputs=("half",),
        example=random_images,
    )


def test_batch_and_size_are_free() -> None:
    program = trace(graph(False), (64, 64), step=32).module()
    assert program(torch.rand(5, 3, 96, 128)).shape == (5, 3, 96, 64)


def test_what_torch_cannot_trace_is_one_line() -> None:
    with pytest.raises(
        UserError, match="torch.export does not take the part 'model' of this model with any batch"
    ) as caught:
        trace(graph(True), (64, 64), step=None)
    assert "\n" not in str(caught.value)


def test_padding_as_in_tensorflow_is_no_expression_of_the_size() -> None:
    """Each of a chain would have all before it in its own, and torch would not end."""
    torch.manual_seed(0)
    module = nn.Sequential(Conv2dSame(3, 4, 3, stride=2), Conv2dSame(4, 4, 5, stride=2, bias=False)).eval()
    odd = torch.rand(1, 3, 65, 35)
    before = module(odd)
    one = Graph(
        name="model", module=module, axes={"images": IMAGES}, outputs=("maps",), example=random_images
    )
    program = trace(one, (64, 64), step=32)
    pads = [node.args[1] for node in program.graph.nodes if "pad" in str(node.target)]
    assert pads == [[0, 1, 0, 1], [1, 2, 1, 2]]
    for size in ((96, 160), (64, 96)):
        images = torch.rand(3, 3, *size)
        torch.testing.assert_close(program.module()(images), module(images))
    assert torch.equal(module(odd), before)
