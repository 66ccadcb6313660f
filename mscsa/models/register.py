"""The models that `import mscsa` adds to timm's registry: the rows of the paper's Table 7.

Backbones that timm lacks (TopFormer, P2T, Shunted, serial CoaT) register themselves on import.
"""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs, register_model, resolve_pretrained_cfg

from mscsa.backbones import coat, p2t, shunted, topformer  # noqa: F401  registers their models
from mscsa.backbones.presets import REGISTERED
from mscsa.models.build import composite_cfg, create_model
from mscsa.models.model import MSCSAModel

default_cfgs = generate_default_cfgs(
    {
        name: composite_cfg(resolve_pretrained_cfg(backbone).to_dict(), name)
        for name, backbone in REGISTERED.items()
    }
)


def _build(name: str, pretrained: bool, pretrained_cfg: Any = None, **kwargs: Any) -> MSCSAModel:
    """Build through `create_model`; timm's `pretrained_cfg` describes the whole model and its input."""
    model = create_model(REGISTERED[name], pretrained=pretrained, **kwargs)
    given: dict[str, Any] = {}
    if pretrained_cfg is not None:
        given = pretrained_cfg if isinstance(pretrained_cfg, dict) else pretrained_cfg.to_dict()
    model.pretrained_cfg = model.default_cfg = {**model.pretrained_cfg, "architecture": name, **given}
    return model


@register_model
def mscsa_topformer_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """TopFormer-T with MSCSA in place of its semantics extractor."""
    return _build("mscsa_topformer_tiny", pretrained, **kwargs)


@register_model
def mscsa_topformer_base(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """TopFormer-B with MSCSA in place of its semantics extractor."""
    return _build("mscsa_topformer_base", pretrained, **kwargs)


@register_model
def mscsa_coat_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """CoaT-Tiny with MSCSA in place of its parallel blocks."""
    return _build("mscsa_coat_tiny", pretrained, **kwargs)


@register_model
def mscsa_coat_small(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """CoaT-Small with MSCSA in place of its parallel blocks."""
    return _build("mscsa_coat_small", pretrained, **kwargs)


@register_model
def mscsa_p2t_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """P2T-Tiny + MSCSA."""
    return _build("mscsa_p2t_tiny", pretrained, **kwargs)


@register_model
def mscsa_shunted_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """Shunted-T + MSCSA."""
    return _build("mscsa_shunted_tiny", pretrained, **kwargs)


@register_model
def mscsa_resnet18(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ResNet-18 + MSCSA."""
    return _build("mscsa_resnet18", pretrained, **kwargs)


@register_model
def mscsa_resnet50(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ResNet-50 + MSCSA."""
    return _build("mscsa_resnet50", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b0(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B0 + MSCSA."""
    return _build("mscsa_pvt_v2_b0", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b1(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B1 + MSCSA."""
    return _build("mscsa_pvt_v2_b1", pretrained, **kwargs)


@register_model
def mscsa_pvt_v2_b2(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """PVTv2-B2 + MSCSA."""
    return _build("mscsa_pvt_v2_b2", pretrained, **kwargs)


@register_model
def mscsa_swin_tiny_patch4_window7_224(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """Swin-T + MSCSA."""
    return _build("mscsa_swin_tiny_patch4_window7_224", pretrained, **kwargs)


@register_model
def mscsa_convnext_tiny(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
    """ConvNeXt-T + MSCSA."""
    return _build("mscsa_convnext_tiny", pretrained, **kwargs)
