"""What stands between a backbone's pyramid and torchvision's detectors: batching and an FPN."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Literal

from timm.layers import LayerNorm2d
from torch import Tensor, nn
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock, LastLevelP6P7

from mscsa.dense import Pyramid, coarsest_stride, levels_of
from mscsa.errors import UserError
from mscsa.heads import NORM_GROUPS

DetectorNorm = Literal["none", "bn", "gn"]
"""Norm after the convolutions of FPN or head."""

BODY = "backbone.body"
"""Where the pyramid is in torchvision's detectors on a `PyramidFPN`."""


def norm_layer(norm: DetectorNorm) -> Callable[[int], nn.Module] | None:
    """Give the constructor of a norm by its number of channels; None for no norm.

    Raises:
        UserError: If there is no such norm, or, from the constructor, it does not divide the channels.
    """
    layers: dict[str, Callable[[int], nn.Module] | None] = {
        "none": None,
        "bn": nn.BatchNorm2d,
        "gn": _group_norm,
    }
    if norm not in layers:
        raise UserError(f"norm {norm!r} given: choose one of {', '.join(layers)}")
    return layers[norm]


def _group_norm(channels: int) -> nn.Module:
    if channels % NORM_GROUPS:
        raise UserError(
            f"a norm gn on {channels} channels: it takes {NORM_GROUPS} groups; give a multiple of "
            f"{NORM_GROUPS} channels, or another norm"
        )
    return nn.GroupNorm(NORM_GROUPS, channels)


class BatchImages(GeneralizedRCNNTransform):
    """Normalise images and pad them to one size; never resize: the data pipeline does that."""

    def __init__(self, mean: list[float], std: list[float], size_divisor: int) -> None:
        super().__init__(0, 0, mean, std, size_divisible=size_divisor)

    @classmethod
    def of(cls, pyramid: Pyramid) -> BatchImages:
        """Prepare images as a pyramid takes them: its mean and std, padded to its backbone's coarsest stride.

        Of other channels than those the mean is of, each takes the mean of all, as in timm's data settings.
        """
        mean, std = (list(pyramid.pretrained_cfg[name]) for name in ("mean", "std"))
        if len(mean) != pyramid.in_chans:
            mean, std = ([sum(each) / len(each)] * pyramid.in_chans for each in (mean, std))
        return cls(mean, std, coarsest_stride(pyramid))

    def resize(self, image: Tensor, target: Any = None) -> tuple[Tensor, Any]:
        """Leave image and target as they are."""
        return image, target

    def postprocess(self, result: Any, image_shapes: Any, original_image_sizes: Any) -> Any:
        """Leave detections as they are: boxes in the image's pixels, masks inside their boxes."""
        return result


class TwoCoarser(LastLevelP6P7):
    """RetinaNet's P6, and P7 from P6, each by a convolution.

    P6 comes from C5 and there is no ReLU, as in MMDetection's settings, which the recipes follow. The
    RetinaNet paper, torchvision and Detectron2 have a ReLU before P7; torchvision takes P5 in place of C5
    where it has as many channels, for a PVTv2-B0 for instance, and its first weights were trained so.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, from_p5: bool = False, relu: bool = False
    ) -> None:
        super().__init__(out_channels if from_p5 else in_channels, out_channels)
        self.use_P5 = from_p5
        self.relu = relu

    def forward(self, p: list[Tensor], c: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        """Add two coarser maps to the FPN's (`p`), made of one of them or of the backbone's deepest (`c`)."""
        p6 = self.p6(p[-1] if self.use_P5 else c[-1])
        return [*p, p6, self.p7(p6.relu() if self.relu else p6)], [*names, "p6", "p7"]


class PyramidFPN(nn.Module):
    """A backbone's pyramid and an FPN on it, as torchvision's detectors ask for a backbone.

    Lin et al., "Feature Pyramid Networks for Object Detection", CVPR 2017, https://arxiv.org/abs/1612.03144.
    """

    def __init__(
        self,
        body: Pyramid,
        out_channels: int,
        *,
        coarser: Callable[[int], ExtraFPNBlock],
        norm: DetectorNorm = "none",
        level_norm: bool = False,
    ) -> None:
        """Put an FPN on a pyramid.

        Args:
            body: Images (B, 3, H, W) to maps.
            out_channels: Channels of the FPN's maps.
            coarser: From the deepest level's channels to what makes coarser levels.
            norm: Norm after each of the FPN's convolutions.
            level_norm: A layer norm over the channels of each of the pyramid's maps, which backbones that
                end their stages without a norm have in their public detectors (Swin, ConvNeXt).
        Raises:
            UserError: If there is no such norm, or it does not fit the channels.
        """
        super().__init__()
        channels, _ = levels_of(body)
        self.body = body
        self.norms = nn.ModuleList(LayerNorm2d(each) if level_norm else nn.Identity() for each in channels)
        self.fpn = FeaturePyramidNetwork(
            channels, out_channels, extra_blocks=coarser(channels[-1]), norm_layer=norm_layer(norm)
        )
        self.out_channels = out_channels

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map images (B, 3, H, W) to the FPN's maps (B, C, H_i, W_i) by name, finest first."""
        maps = [norm(each) for norm, each in zip(self.norms, self.body(x), strict=True)]
        return self.fpn(OrderedDict((str(i), each) for i, each in enumerate(maps)))
