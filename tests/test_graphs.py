"""Examples of graphs are the same each time, and have what a padded batch has."""

from __future__ import annotations

import torch
from torch import nn

from mscsa.graphs import image_graph, random_images, uneven_sizes


def test_an_image_graphs_example_are_images() -> None:
    graph = image_graph(nn.Identity(), ("logits",))
    (images,) = graph.example(2, (32, 64))
    assert images.shape == (2, 3, 32, 64) and list(graph.axes) == ["images"]
    assert torch.equal(images, random_images(2, (32, 64))[0])
    assert not torch.equal(images, random_images(2, (64, 32))[0].mT)


def test_all_images_but_the_first_are_smaller() -> None:
    assert uneven_sizes(3, (64, 96)).tolist() == [[64, 96], [48, 72], [48, 72]]
