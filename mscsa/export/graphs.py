"""From a trained model to the graphs that are exported: one, or three of a two-stage detector.

A graph takes normalised images and gives raw outputs of fixed counts; what is chosen among them is the
runtime's (`mscsa_runtime.selection`). All graphs take any batch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.detection.detector import Detector
from mscsa.export.anchors import AnchorGraph
from mscsa.export.two_stage import BoxGraph, MaskGraph, ProposalGraph, stages_of
from mscsa.segmentation.segmenter import Segmenter

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


def build_graphs(model: nn.Module, size: Size) -> Graphs:
    """Make the graphs of a folded model in eval mode.

    Args:
        model: Classifier, segmenter or detector.
        size: (H, W) in pixels: the only one of a detector.
    """
    if isinstance(model, Segmenter):
        graph = _image_graph(SegmentationGraph(model), ("logits",))
        return Graphs(graphs=(graph,), step=model.size_divisor)
    if isinstance(model, Detector):
        return _detector_graphs(model, size)
    return Graphs(graphs=(_image_graph(model, ("logits",)),))


def build_pyramid_graphs(pyramid: nn.Module) -> Graphs:
    """Make the graph of a pyramid: its maps, finest first."""
    info: Any = pyramid.feature_info
    strides = tuple(info.reduction())
    names = tuple(f"stride{stride}" for stride in strides)
    graph = _image_graph(PyramidGraph(pyramid), names)
    return Graphs(graphs=(graph,), step=max(STEP, *strides), strides=strides)


class SegmentationGraph(nn.Module):
    """A segmenter for sides that are multiples of its deepest stride: the padding is the runtime's."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.backbone, self.decode_head = segmenter.backbone, segmenter.decode_head

    def forward(self, images: Tensor) -> Tensor:
        logits = self.decode_head(self.backbone(images))
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


class PyramidGraph(nn.Module):
    """A pyramid whose maps are a tuple."""

    def __init__(self, pyramid: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.pyramid(images))


class QueryGraph(nn.Module):
    """A Deformable DETR up to the logits and boxes of its last layer."""

    def __init__(self, net: nn.Module, size: Size) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("rows", torch.arange(size[0]).float(), persistent=False)
        self.register_buffer("columns", torch.arange(size[1]).float(), persistent=False)

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """Map images (B, 3, H, W), and the (h, w) that each takes, (B, 2), to (B, Q, K) and (B, Q, 4)."""
        rows: Any = self.rows
        columns: Any = self.columns
        is_image = (rows[:, None] < sizes[:, 0, None, None]) & (columns < sizes[:, 1, None, None])
        net: Any = self.net
        logits, boxes = net.layers(images, is_image.long())
        return logits[-1], boxes[-1]


def _detector_graphs(detector: Detector, size: Size) -> Graphs:
    net: Any = detector.net
    if hasattr(net, "roi_heads"):
        return _two_stage_graphs(net, size)
    if hasattr(net, "transformer"):
        graph = Graph(
            name="model",
            module=QueryGraph(net, size),
            axes={"images": IMAGES, "sizes": {0: "batch"}},
            outputs=("logits", "boxes"),
            example=lambda batch, of_size: (*random_images(batch, of_size), _sizes(batch, of_size)),
        )
        how = {"kind": "queries", "takes_sizes": True, "detections_per_img": net.detections_per_img}
        return Graphs(graphs=(graph,), has_one_size=True, selection=how)
    module = AnchorGraph(net, size)
    graph = _image_graph(module, ("logits", "boxes"))
    return Graphs(graphs=(graph,), has_one_size=True, selection=module.selection())


def _two_stage_graphs(net: Any, size: Size) -> Graphs:
    first = ProposalGraph(net, size)
    maps = tuple(f"map{name}" for name in first.names)
    of_maps: dict[str, Axes] = {name: {0: "batch"} for name in maps}
    on_rois: Axes = {0: "rois"}
    graphs = (
        _image_graph(first, ("objectness", "boxes", *maps)),
        Graph(
            name="boxes",
            module=BoxGraph(net),
            axes={"rois": on_rois, "sizes": {0: "batch"}, **of_maps},
            outputs=("scores", "boxes"),
            example=partial(_roi_example, first, _sizes),
        ),
        Graph(
            name="masks",
            module=MaskGraph(net),
            axes={"rois": on_rois, "labels": on_rois, **of_maps},
            outputs=("cells",),
            example=partial(_roi_example, first, partial(_labels, net)),
        ),
    )
    return Graphs(graphs=graphs, has_one_size=True, selection=first.selection())


_ROIS = 5
"""Boxes of each image of an example."""


def _labels(net: Any, batch: int, _: Size) -> Tensor:
    """Give a class to each box of an example, all classes in turn."""
    num_classes = stages_of(net)[-1].mask_predictor.mask_fcn_logits.out_channels - 1
    return 1 + torch.arange(_ROIS * batch) % num_classes


def _roi_example(
    first: nn.Module, second: Callable[[int, Size], Tensor], batch: int, size: Size
) -> tuple[Tensor, ...]:
    """Make boxes in images, what the graph takes second, and the maps of the images."""
    with torch.no_grad():
        maps = first(*random_images(batch, size))[2:]
    generator = torch.Generator().manual_seed(batch)
    corners = torch.rand(_ROIS * batch, 2, 2, generator=generator).sort(dim=1).values
    boxes = (corners * torch.tensor([size[1], size[0]])).flatten(1)
    numbers = torch.arange(batch).repeat_interleave(_ROIS)[:, None].float()
    return torch.cat([numbers, boxes], dim=1), second(batch, size), *maps


def _image_graph(module: nn.Module, outputs: tuple[str, ...]) -> Graph:
    return Graph(name="model", module=module, axes={"images": IMAGES}, outputs=outputs, example=random_images)


def random_images(batch: int, size: Size) -> tuple[Tensor, ...]:
    """Draw normalised images (B, 3, H, W), always the same."""
    return (torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(sum(size))),)


def _sizes(batch: int, size: Size) -> Tensor:
    """Give the sizes of a batch of which all but the first image are smaller, (B, 2)."""
    whole = torch.tensor([size], dtype=torch.float32).repeat(batch, 1)
    whole[1:] = (0.75 * whole[1:]).round()
    return whole
