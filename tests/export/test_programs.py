"""Graphs are traced with any batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscsa.errors import UserError
from mscsa.export.graphs import IMAGES, Graph, random_images
from mscsa.export.programs import trace


class Halves(nn.Module):
    """Cuts images in two, and asks for the batch in a way that fixes it if it is to."""

    def __init__(self, is_fixed: bool) -> None:
        super().__init__()
        self.is_fixed = is_fixed

    def forward(self, images: Tensor) -> Tensor:
        if self.is_fixed:
            images = images + torch.zeros(len(images.tolist()))[:, None, None, None]
        return images[..., : images.shape[-1] // 2] * 2


def graph(is_fixed: bool) -> Graph:
    return Graph(
        name="model",
        module=Halves(is_fixed),
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
