"""How the weights of MSCSA's convolutions start: the schemes worth having, and why.

The paper says nothing about it, and it matters: a start under which the coarser scales are small leaves
them without gradient for hundreds of steps. `benchmarks/starts.py` measures the schemes; docs/decisions.md
has the result.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

Init = Literal["average", "average_fan_in", "fan_in", "fan_out", "uniform", "trunc_normal"]
"""Names of the schemes, the default first."""

_AVERAGE_STD = 0.1
"""Of the weights of a depthwise convolution around their mean: enough to set the channels apart."""


def initialize(module: nn.Module, scheme: Init) -> None:
    """Start all convolutions of a module by a scheme; biases start at 0 and norms as torch starts them."""
    start = SCHEMES[scheme]
    for each in module.modules():
        if isinstance(each, nn.Conv2d):
            start(each)
            if each.bias is not None:
                nn.init.zeros_(each.bias)


def fan_in_of(conv: nn.Conv2d) -> int:
    """Count the values that one output of a convolution is the sum of."""
    return conv.in_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]


def fan_out_of(conv: nn.Conv2d) -> int:
    """Count the outputs that one value takes part in, at stride 1."""
    return conv.out_channels // conv.groups * conv.kernel_size[0] * conv.kernel_size[1]


def _average(conv: nn.Conv2d) -> None:
    """Start a depthwise convolution as a noisy average of its window, and all else small (0.02).

    X_1 and X_2 are then nearly what average pooling gives (paper Fig. 6, the variant without weights), as
    large as X_0 where neighbours are alike, as in a backbone's maps; the parallel convolution and the
    feed-forwards pass on what they get. The projections are small because Adam's steps are not: a weight of
    0.02 turns in 20 steps of 1e-3, one of the size that keeps variances in ten times as many. Nothing is lost
    by it, since the norms before every branch restore the scale.
    """
    if conv.groups > 1:
        nn.init.normal_(conv.weight, 1 / fan_in_of(conv), _AVERAGE_STD)
    else:
        _trunc_normal(conv)


def _average_fan_in(conv: nn.Conv2d) -> None:
    """Start depthwise convolutions as averages, and keep variances in all others."""
    (_average if conv.groups > 1 else _fan_in)(conv)


def _fan_in(conv: nn.Conv2d) -> None:
    """Keep the variance of independent values (LeCun et al., "Efficient BackProp", 1998)."""
    nn.init.trunc_normal_(conv.weight, std=fan_in_of(conv) ** -0.5)


def _fan_out(conv: nn.Conv2d) -> None:
    """Keep the variance of gradients behind a ReLU (He et al., 2015).

    How PVTv2, Shunted Transformer and TopFormer start their convolutions.
    """
    nn.init.normal_(conv.weight, 0.0, (2 / fan_out_of(conv)) ** 0.5)


def _uniform(conv: nn.Conv2d) -> None:
    """Leave torch's own start, uniform with variance 1 / (3 fan_in): what HRViT, P2T and CoaT have."""
    conv.reset_parameters()


def _trunc_normal(conv: nn.Conv2d) -> None:
    """Take 0.02 everywhere, as vision transformers start their linear layers.

    Of a depthwise convolution, whose outputs sum 9 values, it makes 1/20 of what goes in: the coarser scales
    and the parallel path start dead.
    """
    nn.init.trunc_normal_(conv.weight, std=0.02)


SCHEMES: dict[Init, Callable[[nn.Conv2d], None]] = {
    "average": _average,
    "average_fan_in": _average_fan_in,
    "fan_in": _fan_in,
    "fan_out": _fan_out,
    "uniform": _uniform,
    "trunc_normal": _trunc_normal,
}
"""Name -> how a convolution starts."""
