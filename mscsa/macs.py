"""Counting the multiply-adds of whole models, the same on every device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mscsa.skeletons import without_data

Result = TypeVar("Result")


def count_macs(
    model: nn.Module,
    input_size: tuple[int, int] = (224, 224),
    in_chans: int = 3,
    run: Callable[[Any, Tensor], object] | None = None,
) -> int:
    """Count the multiply-adds of convolutions and matrix products for one image.

    Runs a copy of the model without data, on the meta device: there attention is never fused, and the
    counter, which misses the fused kernels of the CPU, sees its products. Two floating-point
    operations are one multiply-add.

    Args:
        model: Any model that takes (1, in_chans, H, W).
        input_size: (H, W) in pixels.
        in_chans: Channels of the image.
        run: What to call with the copy and the image in place of the copy itself.
    """
    # torch's counter cannot follow a part of a parameter that wants a gradient into a module.
    skeleton = without_data(model).eval()
    image = torch.empty(1, in_chans, *input_size, device="meta")
    return run_and_count(lambda: run(skeleton, image) if run else skeleton(image))[1]


def run_and_count(call: Callable[[], Result]) -> tuple[Result, int]:
    """Call `call` without gradients; give its result and the multiply-adds that torch counted.

    Everything it touches should lie on the meta device (see `count_macs`).
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        result = call()
    return result, counter.get_total_flops() // 2


def count_parameters(model: nn.Module) -> int:
    """Count the parameters, shared ones once."""
    return sum(p.numel() for p in model.parameters())
