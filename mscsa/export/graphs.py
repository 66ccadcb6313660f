"""From a trained model to the graphs that are exported: the model's own say which (`mscsa.graphs`)."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from mscsa.detection.detector import Detector
from mscsa.graphs import STEP, Graphs, Size, image_graph
from mscsa.segmentation.segmenter import Segmenter


def build_graphs(model: nn.Module, size: Size) -> Graphs:
    """Make the graphs of a folded model in eval mode.

    Args:
        model: Classifier, segmenter or detector.
        size: (H, W) in pixels: the only one of a detector.
    Raises:
        UserError: If it is a detector of a kind that has none.
    """
    if isinstance(model, (Segmenter, Detector)):
        return model.graphs(size)
    return Graphs(graphs=(image_graph(model, ("logits",)),))


def build_pyramid_graphs(pyramid: nn.Module) -> Graphs:
    """Make the graph of a pyramid: its maps, finest first."""
    info: Any = pyramid.feature_info
    strides = tuple(info.reduction())
    names = tuple(f"stride{stride}" for stride in strides)
    graph = image_graph(PyramidGraph(pyramid), names)
    return Graphs(graphs=(graph,), step=max(STEP, *strides), strides=strides)


class PyramidGraph(nn.Module):
    """A pyramid whose maps are a tuple."""

    def __init__(self, pyramid: nn.Module) -> None:
        super().__init__()
        self.pyramid = pyramid

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.pyramid(images))
