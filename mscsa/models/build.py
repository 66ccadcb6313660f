"""Building models by name: any timm backbone, with the paper's configuration or one for a budget."""

from __future__ import annotations

import difflib
from dataclasses import replace
from typing import Any

import torch
from timm.models import PretrainedCfg

from mscsa.attention import MSCSAConfig, config_for_budget
from mscsa.attention.config import CONFIG_FIELDS
from mscsa.backbones.presets import PRESETS, REGISTERED
from mscsa.backbones.timm_pyramid import (
    attended_levels,
    build_backbone,
    drop_path_rate_of,
    pyramid_levels,
    read_pyramid,
)
from mscsa.errors import UserError
from mscsa.macs import run_and_count
from mscsa.models.model import MSCSAModel, resolve_out_indices

INPUT_FIELDS = (
    *("input_size", "test_input_size", "min_input_size", "mean", "std"),
    *("interpolation", "crop_pct", "test_crop_pct", "crop_mode"),
)
"""What a model takes over from its backbone's `pretrained_cfg`."""

OWN_KEYWORDS = (
    *("pretrained", "features_only", "out_indices", "num_classes", "in_chans", "drop_rate"),
    *("drop_path_rate", "pretrained_cfg_overlay", "cache_dir"),
)
"""What `create_model` gives to the backbone itself."""

DEFAULT_BUDGET = 0.10
"""Share of the backbone's MACs for backbones that the paper has no configuration for."""


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: int | tuple[int, ...] | None = None,
    num_classes: int = 1000,
    in_chans: int = 3,
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    budget: float | None = None,
    budget_size: int | tuple[int, int] | None = None,
    config: MSCSAConfig | None = None,
    backbone_kwargs: dict[str, Any] | None = None,
    pretrained_cfg_overlay: dict[str, Any] | None = None,
    cache_dir: str | None = None,
    **config_fields: Any,
) -> MSCSAModel:
    """Add MSCSA to the timm backbone `name`.

    The configuration is, in this order: `config` if given; one that costs at most `budget`; the row of
    the paper's Table 7; `MSCSAConfig`'s defaults if `squeeze_ratio` and `head_dim`, its widths, are among
    `config_fields`; one for a budget of 10 %. `config_fields` replace single fields of it.

    Args:
        name: timm name of a backbone with a feature pyramid, with or without a pretrained tag; or one of
            our registered names (`mscsa_coat_tiny`), to change single fields of it.
        pretrained: Load timm's weights into the backbone; MSCSA stays at its initialisation.
        features_only: Build the pyramid form: a list of fused maps, with timm's `feature_info`.
        out_indices: Levels of the pyramid form, with timm's meaning; all with stride >= 4 if None.
        num_classes: Classes of the classifier; 0 gives pooled features.
        in_chans: Channels of the image.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        budget: Share of the backbone's MACs that MSCSA may cost (0.10 = +10 %); it will cost at least
            0.9 times as much.
        budget_size: Image size in pixels at which the budget holds; the backbone's default if None.
        config: The whole configuration of MSCSA.
        backbone_kwargs: Arguments of the backbone's own constructor.
        pretrained_cfg_overlay: As in timm, for the backbone's weights (`dict(file=...)`).
        cache_dir: As in timm, for the backbone's weights.
        **config_fields: Fields of `MSCSAConfig` by name (`depth=2`, `init="identity"`).
    Returns:
        The model, with its backbone's mean, std, crop and interpolation in `pretrained_cfg`.
    Raises:
        UserError: If the name is unknown, the backbone has no pyramid, a keyword is unknown, or no
            configuration fits the budget.
        ValueError: If a configuration field is out of range.
    """
    _check_keywords(config_fields, config, budget, backbone_kwargs or {})
    name = REGISTERED.get(name, name)
    backbone = build_backbone(
        name,
        pretrained=pretrained,
        in_chans=in_chans,
        drop_path_rate=drop_path_rate,
        pretrained_cfg_overlay=pretrained_cfg_overlay,
        cache_dir=cache_dir,
        **(backbone_kwargs or {}),
    )
    rate = drop_path_rate_of(backbone) if drop_path_rate is None else drop_path_rate
    preset = PRESETS.get(name.split(".")[0])
    if config is not None:
        given = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
        config = replace(config, **{**given, **config_fields})
    elif budget is None and preset is not None:
        dense = {"pool_stride": preset.dense_pool_stride} if features_only else {}
        config = replace(preset.config, **{"drop_path_rate": rate, **dense, **config_fields})
    elif budget is None and {"squeeze_ratio", "head_dim"} <= config_fields.keys():
        config = MSCSAConfig(**{"drop_path_rate": rate, **config_fields})
    else:
        config = _budget_config(
            name,
            DEFAULT_BUDGET if budget is None else budget,
            MSCSAConfig(**{"drop_path_rate": rate, **config_fields}),
            fixed=tuple(config_fields),
            features_only=features_only,
            out_indices=out_indices,
            in_chans=in_chans,
            size=budget_size,
            backbone_kwargs=backbone_kwargs or {},
        )
    cfg = dict(backbone.pretrained_cfg)
    model = MSCSAModel(
        backbone,
        config,
        num_classes=num_classes,
        drop_rate=drop_rate,
        features_only=features_only,
        out_indices=out_indices,
        pool_first=preset is not None and preset.pool_first,
        name=name,
    )
    model.pretrained_cfg = model.default_cfg = composite_cfg(cfg, f"mscsa_{name.split('.')[0]}")
    return model


def _check_keywords(
    config_fields: dict[str, Any],
    config: MSCSAConfig | None,
    budget: float | None,
    backbone_kwargs: dict[str, Any],
) -> None:
    own = [key for key in backbone_kwargs if key in OWN_KEYWORDS]
    if own:
        raise UserError(f"backbone_kwargs has {', '.join(own)}: give it to create_model itself")
    unknown = [field for field in config_fields if field not in CONFIG_FIELDS]
    if unknown:
        near = [match for field in unknown for match in difflib.get_close_matches(field, CONFIG_FIELDS)]
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"MSCSAConfig has {', '.join(CONFIG_FIELDS)};"
        )
        raise UserError(
            f"unknown keyword {', '.join(unknown)}: {hint} the backbone's own go in backbone_kwargs={{...}}"
        )
    if config is not None and budget is not None:
        raise UserError("both config and budget given: a budget chooses the configuration; give one of them")
    if budget is not None and not 0 < budget <= 10:
        raise UserError(
            f"budget={budget} given: give the share of the backbone's MACs that MSCSA may cost, such as 0.10"
        )


def _budget_config(
    name: str,
    budget: float,
    config: MSCSAConfig,
    *,
    fixed: tuple[str, ...],
    features_only: bool,
    out_indices: int | tuple[int, ...] | None,
    in_chans: int,
    size: int | tuple[int, int] | None,
    backbone_kwargs: dict[str, Any],
) -> MSCSAConfig:
    """Solve for a configuration on a copy of the backbone without data."""
    with torch.device("meta"):
        backbone = build_backbone(name, in_chans=in_chans, num_classes=1000, **backbone_kwargs)
    default_size = backbone.pretrained_cfg["input_size"][-2:]
    height, width = (size, size) if isinstance(size, int) else size or default_size
    image = torch.empty(1, in_chans, height, width, device="meta")
    backbone.eval()
    levels = pyramid_levels(backbone)
    attended = attended_levels(levels, name)
    maps, reference = run_and_count(lambda: read_pyramid(backbone, image, [lv.index for lv in attended]))
    fused: list[int] = []
    if features_only:
        asked = resolve_out_indices(levels, out_indices)
        fused = [position for position, level in enumerate(attended) if level.index in asked]
    else:
        _, reference = run_and_count(lambda: backbone(image))
    return config_for_budget(
        [level.channels for level in attended],
        [level.stride for level in attended],
        [(x.shape[2], x.shape[3]) for x in maps],
        budget * reference,
        config,
        fused,
        fixed=fixed,
    )


def composite_cfg(backbone_cfg: dict[str, Any], architecture: str) -> dict[str, Any]:
    """Describe a whole model in timm's terms: input as its backbone's, no weights of its own."""
    kept = {k: v for k, v in backbone_cfg.items() if k in INPUT_FIELDS}
    first_conv = backbone_cfg.get("first_conv")
    if first_conv:
        names = [first_conv] if isinstance(first_conv, str) else list(first_conv)
        prefixed = [f"backbone.{conv}" for conv in names]
        kept["first_conv"] = prefixed[0] if isinstance(first_conv, str) else tuple(prefixed)
    cfg = PretrainedCfg(**kept, architecture=architecture, classifier="head")
    return cfg.to_dict()
