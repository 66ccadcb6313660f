"""The graphs that a model is exported as: what a model says of itself, and `mscsa.export` writes.

A graph takes normalised images and gives raw outputs of fixed counts; what is chosen among them is the
runtime's (`mscsa_runtime.selection`). All graphs take any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

STEP = 32
"""Sides of images of dynamic sizes are multiples of it, in pixels: the usual deepest stride."""

Size = tuple[int, int]
Axes = Mapping[int, str]
"""Place of an axis -> `batch`, `height`, `width` or `rois`: what it is the length of."""

IMAGES: Axes = {0: "batch", 2: "height", 3: "width"}


@dataclass(frozen=True, kw_only=True)
class Graph:
    """One file of an export."""

    name: str
    module: nn.Module
    """Takes the inputs in their order, as positional arguments."""
    axes: Mapping[str, Axes]
    """The inputs, and which of their axes may have any length."""
    outputs: tuple[str, ...]
    example: Callable[[int, Size], tuple[Tensor, ...]]
    """Random inputs for a batch of images of (H, W)."""


@dataclass(frozen=True, kw_only=True)
class Graphs:
    """What is exported of a model."""

    graphs: tuple[Graph, ...]
    step: int = STEP
    """Sides of images are multiples of it where sizes are dynamic."""
    has_one_size: bool = False
    """Whether the graphs are for the one size that they were made for."""
    strides: tuple[int, ...] = ()
    """Of a pyramid's maps."""
    selection: Mapping[str, Any] | None = None
    """How detections are chosen (`mscsa_runtime.metadata.Metadata.selection`)."""


def image_graph(module: nn.Module, outputs: tuple[str, ...]) -> Graph:
    """Describe the one graph of a model that takes images alone."""
    return Graph(name="model", module=module, axes={"images": IMAGES}, outputs=outputs, example=random_images)


def random_images(batch: int, size: Size) -> tuple[Tensor, ...]:
    """Draw normalised images (B, 3, H, W), always the same."""
    return (torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size))),)


def uneven_sizes(batch: int, size: Size) -> Tensor:
    """Give (h, w) of each image of a batch of which all but the first are smaller than `size`, (B, 2)."""
    whole = torch.tensor([size], dtype=torch.float32).repeat(batch, 1)
    whole[1:] = (0.75 * whole[1:]).round()
    return whole
