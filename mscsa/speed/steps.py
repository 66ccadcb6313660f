"""One call of a model on random images, for inference or training: what `bench` times and weighs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.folding import fold_frozen_norms, fold_norms

Mode = Literal["inference", "training"]
Dtype = Literal["float32", "bfloat16", "float16"]

_CALLS_BEFORE_CAPTURE = 3

_GRID = (4, 8)
"""Rows and columns of objects in a made image."""


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """On what and how a model runs."""

    device: str = "cpu"
    """torch's name of the device."""
    dtype: Dtype = "float32"
    """Of weights and images in inference; a training step and a detector autocast to it."""
    channels_last: bool = False
    """Memory layout of images and convolutions; else contiguous."""
    folded: bool = False
    """Whether norms are folded: for inference all (`fold_norms`), in training those that are frozen, as
    `mscsa train` does (`fold_frozen_norms`)."""
    compiled: bool = False
    """Whether `torch.compile` makes a program of the model for each size and batch; of a detector, of its
    backbone and neck."""
    cuda_graph: bool = False
    """Whether a CUDA graph of one call is replayed, in inference without a detector: the GPU then waits for
    no launch."""
    grad_checkpointing: bool = False
    """Whether a training step computes the backbone's activations again in the backward pass."""


def build_step(
    model: nn.Module, mode: Mode, batch_size: int, size: tuple[int, int], options: StepOptions
) -> Callable[[], None]:
    """Put `model` in place for `mode` and give a function that runs one step of it.

    A training step is forward, loss, backward and AdamW (cross-entropy, for each pixel in a segmenter; the
    mean of the maps for a pyramid; all losses of a detector, with the same 32 objects in each image). A
    detector runs whole, from a list of images to boxes and pasted masks, with as many proposals and
    detections as it is built for, whatever its weights (`Detector.fix_workload`): two detectors then do the
    same work behind their backbones. The model's dtype, mode and gradient checkpointing change, whether it is
    compiled, and what a detector finds; what is folded for inference is a copy.

    Args:
        batch_size: Images per step.
        size: (H, W) in pixels.
    Raises:
        ValueError: If checkpointing is asked of a model that has none.
        UserError: If a CUDA graph is asked for elsewhere than on a GPU, of training, or of a detector.
    """
    if options.cuda_graph:
        check_graph(model, mode, options.device)
    if options.folded and mode == "inference":
        model = fold_norms(model)
    if options.compiled:
        (model.pyramid if isinstance(model, Detector) else model).compile(dynamic=False)
    is_detector = isinstance(model, Detector)
    dtype: torch.dtype = getattr(torch, options.dtype)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    weights = dtype if mode == "inference" and not is_detector else torch.float32
    model.to(device=options.device, dtype=weights, memory_format=layout)  # type: ignore[call-overload]
    if options.grad_checkpointing:
        model.set_grad_checkpointing()  # type: ignore[operator]
    draw = torch.rand if is_detector else torch.randn  # detectors normalise by themselves
    images = draw(batch_size, 3, *size, device=options.device, dtype=weights)
    images = images.contiguous(memory_format=layout)
    autocast = partial(torch.autocast, images.device.type, dtype=dtype, enabled=dtype != weights)
    if isinstance(model, Detector):
        model.fix_workload(math.prod(_GRID))
    if mode == "inference":
        model.eval()

        def infer() -> None:
            with torch.inference_mode(), autocast():
                model(list(images) if is_detector else images)

        return _capture(infer) if options.cuda_graph else infer
    model.train()
    if options.folded:
        fold_frozen_norms(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    loss_of = _loss_function(model, images)

    def train() -> None:
        optimizer.zero_grad()
        with autocast():
            loss = loss_of()
        loss.backward()
        optimizer.step()

    return train


def check_graph(model: nn.Module, mode: Mode, device: str) -> None:
    """Raise a UserError where a model's step has no CUDA graph."""
    if not device.startswith("cuda"):
        raise UserError(f"a CUDA graph asked for on {device}: it takes a GPU; leave it out")
    if mode == "training" or isinstance(model, Detector):
        what = "a training step" if mode == "training" else "a detector, whose boxes are counted on the CPU"
        raise UserError(f"a CUDA graph asked for of {what}: only inference of other models has one")


def _capture(step: Callable[[], None]) -> Callable[[], None]:
    """Record the kernels of one call, after those in which libraries choose and allocate."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_CALLS_BEFORE_CAPTURE):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()

    def replay(_kept: Callable[[], None] = step) -> None:
        # The graph reads weights and images where they lay: what holds them must live as long.
        graph.replay()

    return replay


def _loss_function(model: nn.Module, images: Tensor) -> Callable[[], Tensor]:
    if isinstance(model, Detector):
        targets = [_objects(images, model.num_classes)] * len(images)
        return lambda: torch.stack(list(model(list(images), targets).values())).sum()
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)
    return lambda: _loss(model(images), labels)


def _objects(images: Tensor, num_classes: int) -> dict[str, Tensor]:
    """Make the target of one of these images: a grid of boxes, each filled by its mask."""
    (height, width), (rows, columns) = images.shape[-2:], _GRID
    cells = torch.arange(rows * columns)
    left = cells % columns * (width / columns)
    top = cells.div(columns, rounding_mode="floor") * (height / rows)
    boxes = torch.stack([left, top, left + 0.7 * width / columns, top + 0.7 * height / rows], dim=1)
    x, y = torch.arange(width), torch.arange(height)[:, None]
    x1, y1, x2, y2 = (side[:, None, None] for side in boxes.unbind(dim=1))
    masks = ((x >= x1) & (x < x2) & (y >= y1) & (y < y2)).to(torch.uint8)
    target = {"boxes": boxes, "labels": 1 + cells % num_classes, "masks": masks}
    return {name: value.to(images.device) for name, value in target.items()}


def _loss(output: Any, labels: Tensor) -> Tensor:
    if isinstance(output, Tensor):
        places = output.shape[2:]  # none, or a segmenter's pixels
        labels = labels.reshape(-1, *[1 for _ in places]).expand(-1, *places)
        return F.cross_entropy(output.float(), labels)
    return torch.stack([x.float().mean() for x in output]).sum()
