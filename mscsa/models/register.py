"""The models that `import mscsa` adds to timm's registry: the rows of the paper's Table 7, and `mscsa`.

Backbones that timm lacks register themselves when `mscsa.backbones` is imported.
"""

from __future__ import annotations

import sys
from typing import Any

from timm.models import generate_default_cfgs, list_models, register_model, resolve_pretrained_cfg

from mscsa.backbones.presets import REGISTERED
from mscsa.models.build import create_model
from mscsa.models.model import ANY_BACKBONE, MSCSAModel
from mscsa.models.pretrained import whole_model_cfg

default_cfgs = generate_default_cfgs(
    {
        ANY_BACKBONE: whole_model_cfg({}, ANY_BACKBONE),
        **{
            name: whole_model_cfg(resolve_pretrained_cfg(backbone).to_dict(), name)
            for name, backbone in REGISTERED.items()
        },
    }
)


@register_model
def mscsa(pretrained: bool = False, backbone: str = "resnet50", **kwargs: Any) -> MSCSAModel:
    """MSCSA on the timm backbone that `backbone` names: what files of such models are rebuilt by.

    >>> timm.create_model("mscsa", backbone="convnextv2_nano", budget=0.10)
    """
    return create_model(backbone, pretrained=pretrained, **kwargs)


def backbone_names(module: str = "") -> list[str]:
    """Name all registered models but those of this file, timm's and ours: what MSCSA can be added to.

    Args:
        module: Of timm's modules (`timm.list_modules()`) only this one; all if empty.
    """
    return [name for name in list_models(module=module) if name not in default_cfgs]


def _register(name: str, backbone: str) -> None:
    def build(pretrained: bool = False, **kwargs: Any) -> MSCSAModel:
        return create_model(name, pretrained=pretrained, **kwargs)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = f"{backbone} with MSCSA, in the configuration of the paper's Table 7."
    setattr(sys.modules[__name__], name, register_model(build))


for _name, _backbone in REGISTERED.items():
    _register(_name, _backbone)
