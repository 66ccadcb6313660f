"""One call of a model on random images, for inference or training: what `bench` times and weighs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mscsa.errors import UserError

Mode = Literal["inference", "training"]
Dtype = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """On what and how a model runs."""

    device: str = "cpu"
    """torch's name of the device."""
    dtype: Dtype = "float32"
    """Of weights and images in inference; a training step autocasts to it."""
    channels_last: bool = False
    """Memory layout of images and convolutions; else contiguous."""


def build_step(
    model: nn.Module, mode: Mode, batch_size: int, size: tuple[int, int], options: StepOptions
) -> Callable[[], None]:
    """Put `model` in place for `mode` and give a function that runs one step of it.

    A training step is forward, loss, backward and AdamW (cross-entropy, for each pixel in a segmenter; the
    mean of the maps for a pyramid). The model's dtype and mode change.

    Args:
        batch_size: Images per step.
        size: (H, W) in pixels.
    """
    dtype: torch.dtype = getattr(torch, options.dtype)
    layout = torch.channels_last if options.channels_last else torch.contiguous_format
    weights = dtype if mode == "inference" else torch.float32
    model.to(device=options.device, dtype=weights, memory_format=layout)  # type: ignore[call-overload]
    images = torch.randn(batch_size, 3, *size, device=options.device, dtype=weights)
    images = images.contiguous(memory_format=layout)
    if mode == "inference":
        model.eval()

        def infer() -> None:
            with torch.inference_mode():
                model(images)

        return infer
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)
    labels = torch.zeros(batch_size, dtype=torch.long, device=options.device)

    def train() -> None:
        optimizer.zero_grad()
        with torch.autocast(images.device.type, dtype=dtype, enabled=options.dtype != "float32"):
            loss = _loss(model(images), labels)
        loss.backward()
        optimizer.step()

    return train


def choose_device(device: str) -> str:
    """Turn `auto`, `cpu` or `gpu` into torch's name of the device.

    Raises:
        UserError: If a GPU is asked for and there is none, or the word is another.
    """
    if device not in ("auto", "cpu", "gpu"):
        raise UserError(f"device {device!r} is not known: give auto, cpu or gpu")
    if device == "gpu" and not torch.cuda.is_available():
        raise UserError("device gpu was asked for, but torch sees none: give cpu or auto")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _loss(output: Any, labels: Tensor) -> Tensor:
    if isinstance(output, Tensor):
        places = output.shape[2:]  # none, or a segmenter's pixels
        labels = labels.reshape(-1, *[1 for _ in places]).expand(-1, *places)
        return F.cross_entropy(output.float(), labels)
    return torch.stack([x.float().mean() for x in output]).sum()
