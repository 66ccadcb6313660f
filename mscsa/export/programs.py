"""A graph as a program of `torch.export`: what all formats are made from."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import Conv2dSame
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mscsa.errors import UserError
from mscsa.graphs import Graph, Size

_MOST_STEPS = 256
_MOST_IMAGES = 4096
_MOST_ROIS = 1 << 20


def trace(graph: Graph, size: Size, *, step: int | None) -> ExportedProgram:
    """Trace a graph with any batch.

    Args:
        graph: Of a model in eval mode.
        size: (H, W) in pixels of the example; the only one if `step` is None.
        step: Both sides may be any multiple of it.
    Raises:
        UserError: If torch cannot trace it so.
    """
    lengths: dict[str, Any] = {
        "batch": Dim("batch", min=1, max=_MOST_IMAGES),
        "rois": Dim("rois", min=1, max=_MOST_ROIS),
    }
    if step is not None:
        lengths["height"] = step * Dim("rows", min=2, max=_MOST_STEPS)
        lengths["width"] = step * Dim("columns", min=2, max=_MOST_STEPS)
    inputs = graph.example(2, size)
    shapes = tuple(_shape_of(axes, lengths) for axes in graph.axes.values())
    padding = _padding_of_whole_strides(graph.module) if step is not None else nullcontext()
    try:
        with torch.no_grad(), warnings.catch_warnings(), padding:
            warnings.simplefilter("ignore")
            return torch.export.export(_Positional(graph.module), inputs, dynamic_shapes={"inputs": shapes})
    except Exception as error:  # torch's tracers raise nearly anything
        what = "any size" if step is not None else "any batch"
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"torch.export does not take the part {graph.name!r} of this model with {what} ({reason}): use "
            "another backbone or head, or the checkpoint itself"
        ) from error


class _Positional(nn.Module):
    """A module whose inputs are one list, whatever it calls them."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: Tensor) -> Any:
        return self.module(*inputs)


def _shape_of(axes: Mapping[int, str], lengths: Mapping[str, Any]) -> dict[int, Any]:
    return {place: lengths[name] for place, name in axes.items() if name in lengths}


@contextmanager
def _padding_of_whole_strides(module: nn.Module) -> Iterator[None]:
    """Let convolutions that pad as TensorFlow does pad as if their strides divided all sides.

    Sides of images are multiples of the deepest stride, so that they do; where they do not, the comparison of
    the file with the model finds it. As expressions of a free size, each within the next, these paddings take
    torch longer than anybody waits: an EfficientNet-Lite0 was not traced after minutes.
    """
    convolutions: list[Any] = [each for each in module.modules() if isinstance(each, Conv2dSame)]
    for each in convolutions:
        each.forward = partial(_convolve, each)
    try:
        yield
    finally:
        for each in convolutions:
            del each.forward


def _convolve(conv: Conv2dSame, x: Tensor) -> Tensor:
    ends: list[int] = []
    for place in (1, 0):  # F.pad begins with the last axis
        reach = conv.dilation[place] * (conv.kernel_size[place] - 1) + 1
        total = max(reach - conv.stride[place], 0)
        ends += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, ends), conv.weight, conv.bias, conv.stride, 0, conv.dilation, conv.groups)
