"""What a whole model's `pretrained_cfg` says, and the weights that it may name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any

from timm.models import PretrainedCfg, adapt_input_conv, load_pretrained
from timm.models._builder import pretrained_cfg_for_features
from torch import Tensor

from mscsa.backbones.presets import PRESETS
from mscsa.backbones.weight_sources import (
    are_direct,
    are_local,
    are_named,
    downloads,
    entries_given,
    place_of,
)
from mscsa.checkpoints.configurations import refuse_other
from mscsa.checkpoints.loading import fit, read_source
from mscsa.checkpoints.policies import POLICIES
from mscsa.models.keywords import TimmKeywords
from mscsa.models.model import ANY_BACKBONE, MSCSAModel, token_map_at
from mscsa.names import ModelName

logger = logging.getLogger(__name__)

INHERITED_INPUT = (
    *("input_size", "test_input_size", "min_input_size", "mean", "std"),
    *("interpolation", "crop_pct", "test_crop_pct", "crop_mode"),
)
"""What a model takes over from its backbone's `pretrained_cfg`."""


class WholeModel:
    """What is known of a whole model beside its structure: its name, its input, its weights."""

    def __init__(self, name: ModelName, said: TimmKeywords | None = None) -> None:
        """Read what the caller says.

        Args:
            name: Of the model.
            said: timm's keywords about the whole model.
        """
        self.said = said or TimmKeywords()
        cfg = self.said.pretrained_cfg
        if isinstance(cfg, str):  # how timm passes on the tag of a name
            name, cfg = replace(name, tag=cfg), None
        self.name = name
        self.given = entries_given(cfg, self.said.pretrained_cfg_overlay)

    @property
    def has_weights(self) -> bool:
        """Whether weights of the whole model are named, rather than the backbone's own in timm."""
        return are_named(self.given)

    @property
    def num_classes(self) -> int:
        """Classes of the weights; timm writes -1 for whatever the file has."""
        count = self.given.get("num_classes")
        return 1000 if count is None or count == -1 else count

    @property
    def in_chans(self) -> int:
        """Channels of the images that the weights were trained on."""
        return self.given["input_size"][0] if self.given.get("input_size") else 3

    def describe(self, model: MSCSAModel) -> None:
        """Set `pretrained_cfg` and what timm asks beside it; what the caller says comes before ours."""
        of_backbone = getattr(model.backbone, "pretrained_cfg", None) or {}
        cfg = whole_model_cfg(of_backbone, _registered_name(self.name) or ANY_BACKBONE)
        if self.name.tag:
            cfg["tag"] = self.name.tag
        cfg["classifier"] = model.classifier_names
        if model.mscsa is not None:
            cfg["pool_size"] = token_map_at(model.mscsa.config, cfg["input_size"])
        cfg |= {k: v for k, v in self.given.items() if v is not None and k not in ("architecture", "tag")}
        if cfg["num_classes"] == -1 or (self.has_weights and self.given.get("num_classes") is None):
            # A file says by its classifier how many it has, and `_fitted` what becomes of it: by the number
            # here timm would drop the classifier without a word.
            cfg["num_classes"] = model.num_classes
        traits = dict(model._traits, first_conv=cfg["first_conv"])
        model._traits = {"img_size": None, "fixed_input_size": False, **traits}
        model.pretrained_model_args = dict(self.said.pretrained_model_args or {})
        model.pretrained_cfg = pretrained_cfg_for_features(cfg) if model.is_pyramid else cfg
        model.default_cfg = model.pretrained_cfg

    def load_into(self, model: MSCSAModel) -> None:
        """Load the weights that are named; what they do not have stays as it is.

        Raises:
            UserError: If they are not there, cannot be read or downloaded, or are of another model.
        """
        place, own = place_of(self.given), dict[str, Any]()
        metadata: Mapping[str, str] = {}
        is_here = are_local(self.given)
        if are_direct(self.given):
            weights, place = read_source(self.given.get("state_dict") or str(self.given["file"]))
            metadata, own = weights.metadata, {"state_dict": weights.state}
        what = f"the weights of {place}"
        with nullcontext() if is_here else downloads(what, "connect to the network, or give them as a file"):
            load_pretrained(
                model,
                pretrained_cfg={"num_classes": model.num_classes, **model.pretrained_cfg, **own},
                num_classes=model.num_classes,
                in_chans=model.in_chans,
                filter_fn=partial(_fitted, metadata=metadata, place=place),
                cache_dir=self.said.cache_dir,
            )


def whole_model_cfg(backbone_cfg: Mapping[str, Any], architecture: str) -> dict[str, Any]:
    """Describe a whole model in timm's terms: input as its backbone's, no weights of its own."""
    kept = {k: v for k, v in backbone_cfg.items() if k in INHERITED_INPUT}
    first_conv = backbone_cfg.get("first_conv")
    if first_conv:
        names = [first_conv] if isinstance(first_conv, str) else list(first_conv)
        prefixed = [f"backbone.{conv}" for conv in names]
        kept["first_conv"] = prefixed[0] if isinstance(first_conv, str) else tuple(prefixed)
    cfg = PretrainedCfg(**kept, architecture=architecture, classifier="head")
    return cfg.to_dict()


def _registered_name(name: ModelName) -> str | None:
    """Give the registered name of MSCSA on a backbone of the paper's Table 7."""
    return replace(name, tag="").with_mscsa if name.backbone in PRESETS else None


def _fitted(
    state: dict[str, Tensor], model: MSCSAModel, metadata: Mapping[str, str], place: str
) -> dict[str, Tensor]:
    """Bring weights of the whole model, or of its plain backbone, into the model's keys, all of them.

    What the weights do not have stays as it is, which a warning says; those of another backbone, or of parts
    that are configured otherwise, are refused.
    """
    convs = model._traits.get("first_conv") or ()
    for conv in [convs] if isinstance(convs, str) else convs:
        own: Any = model.get_submodule(conv)
        for key in (f"{conv}.weight", f"{conv.removeprefix('backbone.')}.weight"):
            if key in state and state[key].shape[1:2] != own.weight.shape[1:2]:
                state[key] = adapt_input_conv(model.in_chans, state[key])
    entries, report = fit(model, state, POLICIES["backbone"], place)
    refuse_other(model, metadata, set(report.filled), place)
    if text := report.warning():
        logger.warning("%s", text)
    return {**model.state_dict(), **entries}
