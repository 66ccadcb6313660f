"""What a whole model's `pretrained_cfg` says, and the weights that it may name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from timm.models import PretrainedCfg, load_pretrained
from timm.models._builder import pretrained_cfg_for_features
from torch import Tensor

from mscsa.backbones.presets import PRESETS
from mscsa.errors import UserError
from mscsa.models.model import ANY_BACKBONE, MSCSAModel, token_map_at
from mscsa.names import ModelName

logger = logging.getLogger(__name__)

INPUT_FIELDS = (
    *("input_size", "test_input_size", "min_input_size", "mean", "std"),
    *("interpolation", "crop_pct", "test_crop_pct", "crop_mode"),
)
"""What a model takes over from its backbone's `pretrained_cfg`."""

WEIGHT_SOURCES = ("state_dict", "file", "url", "hf_hub_id")
"""Where a `pretrained_cfg` may say that weights are."""


def given_description(pretrained_cfg: Any, overlay: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read what a caller of timm says about the whole model: a `pretrained_cfg` with an overlay on it."""
    if isinstance(pretrained_cfg, PretrainedCfg):
        pretrained_cfg = pretrained_cfg.to_dict()
    return {**(pretrained_cfg or {}), **(overlay or {})}


def has_weights(given: Mapping[str, Any]) -> bool:
    """Whether a description names weights of the whole model."""
    return any(given.get(source) for source in WEIGHT_SOURCES)


def whole_model_cfg(backbone_cfg: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """Describe a whole model in timm's terms: input as its backbone's, no weights of its own."""
    kept = {k: v for k, v in backbone_cfg.items() if k in INPUT_FIELDS}
    first_conv = backbone_cfg.get("first_conv")
    if first_conv:
        names = [first_conv] if isinstance(first_conv, str) else list(first_conv)
        prefixed = [f"backbone.{conv}" for conv in names]
        kept["first_conv"] = prefixed[0] if isinstance(first_conv, str) else tuple(prefixed)
    cfg = PretrainedCfg(**kept, architecture=architecture, classifier="head")
    return cfg.to_dict()


def describe_whole_model(model: MSCSAModel, name: ModelName, given: Mapping[str, Any]) -> None:
    """Set `pretrained_cfg` and what timm asks of it; what the caller says of the model comes before ours."""
    of_backbone = getattr(model.backbone, "pretrained_cfg", None) or {}
    cfg = whole_model_cfg(of_backbone, _registered_name(name) or ANY_BACKBONE)
    if name.tag:
        cfg["tag"] = name.tag
    assert model.mscsa is not None
    cfg["pool_size"] = token_map_at(model.mscsa.config, cfg["input_size"])
    said = {key: value for key, value in given.items() if value is not None and key != "architecture"}
    if said.get("num_classes", 0) < 0:  # timm's "whatever the file has"
        said["num_classes"] = model.num_classes
    cfg |= said
    traits = dict(model._traits, first_conv=cfg["first_conv"])
    model._traits = {"img_size": None, "fixed_input_size": False, **traits}
    model.pretrained_cfg = model.default_cfg = pretrained_cfg_for_features(cfg) if model.is_pyramid else cfg


def load_whole_model(model: MSCSAModel, cache_dir: str | None) -> None:
    """Load the weights that `model.pretrained_cfg` names, with timm's reader and adaptation of channels.

    Raises:
        UserError: If they are of another model.
    """
    cfg = dict(model.pretrained_cfg)
    cfg.setdefault("num_classes", model.num_classes)
    load_pretrained(
        model,
        pretrained_cfg=cfg,
        num_classes=model.num_classes,
        in_chans=model.in_chans,
        filter_fn=_fitted,
        cache_dir=cache_dir,
    )


def _registered_name(name: ModelName) -> str | None:
    """Give the registered name of MSCSA on a backbone of the paper's Table 7."""
    return replace(name, tag="").with_mscsa if name.backbone in PRESETS else None


def _fitted(state: dict[str, Tensor], model: MSCSAModel) -> dict[str, Tensor]:
    """Bring weights of the whole model, or of its plain backbone, into the model's keys, all of them.

    What the weights do not have stays as it is; a file of another backbone is refused.
    """
    own = model.state_dict()
    if not any(key.startswith("backbone.") for key in state):
        state = {f"backbone.{key}": value for key, value in state.items()}
    wrong = [k for k in own if k.startswith("backbone.") and k not in state]
    if wrong:
        raise UserError(f"the weights are not of {type(model.backbone).__name__}: they lack {wrong[0]}")
    return {**own, **{key: value for key, value in state.items() if key in own}}
