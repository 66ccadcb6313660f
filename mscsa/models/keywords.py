"""Sorting the keywords of a model: MSCSA's fields, the backbone's arguments, timm's about the whole model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from types import NoneType
from typing import Any

import torch
from timm.models import PretrainedCfg

from mscsa.attention.config import CONFIG_FIELDS
from mscsa.errors import UnknownKeyword, UserError
from mscsa_runtime.errors import nearest

BACKBONE_KEYWORDS = (
    *("img_size", "output_stride", "drop_block_rate", "bn_momentum", "bn_eps"),
    *("act_layer", "norm_layer", "patch_size", "window_size"),
)
"""timm's usual arguments of a backbone's constructor, which need not be given in `backbone_kwargs`."""

FEATURE_CLASSES = ("getter", "list")
"""timm's forms of `features_only` that the pyramid form is: a list of NCHW maps."""

_SET_BY_CREATE_MODEL = (
    *(
        "pretrained",
        "features_only",
        "out_indices",
        "keep_classifier",
        "num_classes",
        "in_chans",
        "drop_rate",
        "drop_path_rate",
    ),
)


@dataclass(frozen=True, kw_only=True)
class TimmKeywords:
    """What timm's callers may say about a whole model; None is timm's default."""

    global_pool: str = "avg"
    """"avg"; or "" with 0 classes for the token map itself."""
    pretrained_cfg: Any = None
    """A tag of the backbone's weights, or a description of the whole model."""
    pretrained_cfg_overlay: Mapping[str, Any] | None = None
    """Entries of that description; `dict(file=...)` names weights of this model, or of the plain backbone."""
    pretrained_model_args: Mapping[str, Any] | None = None
    """How the weights that are described were built; kept."""
    checkpoint_path: str | Path | None = None
    """Weights to load at the end, as `mscsa.load_weights`. `timm.create_model` keeps this one to itself: it
    loads strictly, in torch's words, and names a file that is not there in its log alone."""
    cache_dir: str | Path | None = None
    """Folder of downloaded weights."""
    device: Any = None
    """Where to build."""
    dtype: torch.dtype | None = None
    """Floating-point type of parameters and buffers."""
    feature_cls: str | None = None
    """One of `FEATURE_CLASSES`: what the pyramid form is anyway."""

    def __post_init__(self) -> None:
        if not isinstance(self.pretrained_cfg, (str, Mapping, PretrainedCfg, NoneType)):
            raise UserError(
                f"pretrained_cfg={self.pretrained_cfg!r} given: give a tag, a mapping of entries, or timm's "
                "PretrainedCfg"
            )
        for name in ("pretrained_cfg_overlay", "pretrained_model_args"):
            check_mapping(name, getattr(self, name))
        is_type = isinstance(self.dtype, torch.dtype) and self.dtype.is_floating_point
        if self.dtype is not None and not is_type:
            raise UserError(
                f"dtype={self.dtype!r} given: give a floating-point type of torch, such as torch.float32"
            )
        try:
            torch.empty(0, device=self.device)
        except (RuntimeError, TypeError, AssertionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"device={self.device!r} given, where nothing can lie: {reason}") from error
        if self.feature_cls is not None and self.feature_cls not in FEATURE_CLASSES:
            raise UserError(
                f"feature_cls={self.feature_cls!r} given: MSCSA's pyramid is a list of maps; leave it out, "
                f"or give {' or '.join(map(repr, FEATURE_CLASSES))}"
            )


TIMM_KEYWORDS = tuple(field.name for field in fields(TimmKeywords))


@dataclass(frozen=True, kw_only=True)
class Keywords:
    """Keywords, sorted."""

    mscsa: dict[str, Any]
    """Fields of `MSCSAConfig`."""
    backbone: dict[str, Any]
    """Arguments of the backbone's constructor."""
    timm: TimmKeywords
    """What concerns the whole model."""


def sort_keywords(
    given: Mapping[str, Any],
    backbone_kwargs: Mapping[str, Any] | None = None,
    *,
    keep_classifier: bool = False,
) -> Keywords:
    """Sort keywords by what they concern; those of timm that are None are as if not given.

    Args:
        given: All keywords.
        backbone_kwargs: Those of the backbone's constructor.
        keep_classifier: Whether the backbone has a classifier of its own, whose pooling is then its own, too.
    Raises:
        UserError: If one concerns nothing (names the nearest; a TypeError too), or `backbone_kwargs` has
            what is the whole model's.
    """
    check_mapping("backbone_kwargs", backbone_kwargs)
    backbone_kwargs = backbone_kwargs or {}
    whole = {*_SET_BY_CREATE_MODEL, *TIMM_KEYWORDS} - ({"global_pool"} if keep_classifier else set())
    own = [key for key in backbone_kwargs if key in whole]
    if own:
        raise UserError(f"backbone_kwargs has {', '.join(own)}: give it to create_model itself")
    of_timms = {k: v for k, v in given.items() if k in (*TIMM_KEYWORDS, *BACKBONE_KEYWORDS)}
    of_mscsa = {k: v for k, v in given.items() if k not in of_timms}
    unknown = [key for key in of_mscsa if key not in CONFIG_FIELDS]
    if unknown and unknown[0] in ("neck", "neck_config"):
        raise UnknownKeyword(
            f"unknown keyword {unknown[0]}: the neck here is MSCSA; "
            "mscsa.models.build_pyramid(name, neck=...) builds others"
        )
    if unknown:
        all_names = f"MSCSAConfig has {', '.join(CONFIG_FIELDS)};"
        hint = nearest(unknown[0], CONFIG_FIELDS, all_names=all_names)
        raise UnknownKeyword(
            f"unknown keyword {unknown[0]}: {hint} the backbone's own go in backbone_kwargs={{...}}"
        )
    of_timms = {key: value for key, value in of_timms.items() if value is not None}
    return Keywords(
        mscsa=of_mscsa,
        backbone={**backbone_kwargs, **{k: v for k, v in of_timms.items() if k in BACKBONE_KEYWORDS}},
        timm=TimmKeywords(**{k: v for k, v in of_timms.items() if k in TIMM_KEYWORDS}),
    )


def check_mapping(name: str, value: Any) -> None:
    """Refuse an option that is neither None nor a mapping of names.

    Raises:
        UserError: Names it.
    """
    if value is not None and not isinstance(value, Mapping):
        raise UserError(f"{name}={value!r} given: give a mapping of values by name")
