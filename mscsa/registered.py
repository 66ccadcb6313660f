"""The models that `import mscsa` adds to timm's registry: the rows of the paper's Table 7."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model, resolve_pretrained_cfg

from mscsa.backbones.presets import PRESETS
from mscsa.enhanced import MSCSAModel
from mscsa.factory import composite_cfg, create_model

default_cfgs = generate_default_cfgs(
    {
        f"mscsa_{name}": composite_cfg(resolve_pretrained_cfg(name).to_dict(), f"mscsa_{name}")
        for name in PRESETS
    }
)


def _build(name: str, pretrained: bool, pretrained_cfg: Any = None, **kwargs: Any) -> MSCSAModel:
    """Build through `create_model`; timm's `pretrained_cfg` describes the whole model and its input."""
    model = create_model(name, pretrained=pretrained, **kwargs)
    if pretrained_cfg is not None:
        given = pretrained_cfg if isinstance(pretrained_cfg, dict) else pretrained_cfg.to_dict()
        model.pretrained_cfg = model.default_cfg = {**model.pretrained_cfg, **given}
    return model


@register_model
def mscsa_resnet18(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ResNet-18 + MSCSA."""
    return _build("resnet18", pretrained, **kwargs)


@register_model
def mscsa_resnet50(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ResNet-50 + MSCSA."""
    return _build("resnet50", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b0(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B0 + MSCSA."""
    return _build("pvt_v2_b0", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b1(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B1 + MSCSA."""
    return _build("pvt_v2_b1", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b2(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B2 + MSCSA."""
    return _build("pvt_v2_b2", pretrained, **kwargs)


@register_model
def mscsa_swin_tiny_patch4_window7_224(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """Swin-T + MSCSA."""
    return _build("swin_tiny_patch4_window7_224", pretrained, **kwargs)


@register_model
def mscsa_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ConvNeXt-T + MSCSA."""
    return _build("convnext_tiny", pretrained, **kwargs)
