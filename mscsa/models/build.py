"""Building models: MSCSA on a backbone that timm knows by name, or on one that is built already."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from mscsa.attention import MSCSAConfig
from mscsa.attention.config import CONFIG_FIELDS
from mscsa.backbones.presets import PRESETS
from mscsa.backbones.timm_pyramid import attended_levels, build_backbone, prepare_backbone, pyramid_levels
from mscsa.checkpoints import load_weights
from mscsa.errors import UnknownKeyword, UserError
from mscsa.models.configure import choose_config
from mscsa.models.model import MSCSAModel
from mscsa.models.pretrained import describe_whole_model, given_description, has_weights, load_whole_model
from mscsa.models.pyramid import BackbonePyramid, indices_of_strides, resolve_out_indices
from mscsa.names import ModelName, parse_model_name

BACKBONE_KEYWORDS = (
    *("img_size", "output_stride", "drop_block_rate", "bn_momentum", "bn_eps"),
    *("act_layer", "norm_layer", "patch_size", "window_size"),
)
"""timm's usual arguments of a backbone's constructor, which need not be given in `backbone_kwargs`."""

OWN_KEYWORDS = (
    *("pretrained", "features_only", "out_indices", "num_classes", "in_chans", "global_pool"),
    *("drop_rate", "drop_path_rate", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir"),
    *("device", "dtype"),
)
"""What `create_model` gives to the backbone itself."""

FEATURE_CLASSES = ("getter", "list")
"""timm's forms of `features_only` that the pyramid form is: a list of NCHW maps."""


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    global_pool: str = "avg",
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    budget: float | None = None,
    budget_size: int | tuple[int, int] | None = None,
    config: MSCSAConfig | None = None,
    backbone_kwargs: Mapping[str, Any] | None = None,
    pretrained_cfg: Any = None,
    pretrained_cfg_overlay: Mapping[str, Any] | None = None,
    pretrained_model_args: Mapping[str, Any] | None = None,
    checkpoint_path: str | Path | None = None,
    cache_dir: str | None = None,
    device: Any = None,
    dtype: torch.dtype | None = None,
    **fields: Any,
) -> MSCSAModel:
    """Add MSCSA to the timm backbone `name`.

    The configuration is, in this order: `config` if given; one that costs at most `budget`; the row of
    the paper's Table 7; `MSCSAConfig`'s defaults if `squeeze_ratio` and `head_dim`, its widths, are among
    `fields`; one for a budget of 10 %. `fields` replace single fields of it.

    Args:
        name: timm name of a backbone with a feature pyramid, with or without a pretrained tag and
            `mscsa_` before it. `mscsa_coat_*` builds the serial part of CoaT.
        pretrained: Load timm's weights into the backbone; MSCSA stays at its initialisation. With weights
            in `pretrained_cfg` or `pretrained_cfg_overlay` (`dict(file=...)`), load these: of this model,
            or of the plain backbone.
        features_only: Build the pyramid form: a list of fused maps, with timm's `feature_info`.
        out_indices: Levels of the pyramid form, with timm's meaning; all if None.
        num_classes: Classes of the classifier; 0 gives pooled features; those of the weights, or 1000, if
            None.
        in_chans: Channels of the image; those of the weights, or 3, if None.
        global_pool: "avg"; or "" with 0 classes for the token map itself.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        budget: Share of the backbone's MACs that MSCSA may cost (0.10 = +10 %); it will cost at least
            0.9 times as much.
        budget_size: Image size in pixels at which the budget holds; the backbone's default if None.
        config: The whole configuration of MSCSA.
        backbone_kwargs: Arguments of the backbone's own constructor.
        pretrained_cfg: As in timm: a tag of the backbone's weights, or a description of the whole model.
        pretrained_cfg_overlay: As in timm, of the whole model.
        pretrained_model_args: timm's note of how saved weights were built; kept.
        checkpoint_path: Weights to load at the end, as `mscsa.load_weights`.
        cache_dir: As in timm.
        device: Where to build.
        dtype: Floating-point type of parameters and buffers.
        **fields: Fields of `MSCSAConfig` (`depth=2`, `init="identity"`), or usual ones of timm's backbones
            (`BACKBONE_KEYWORDS`).
    Returns:
        The model, with its backbone's mean, std, crop and interpolation in `pretrained_cfg`.
    Raises:
        UserError: If the name is unknown, the backbone has no pyramid, a keyword is unknown (this one is a
            TypeError too), or weights do not fit.
        ValueError: If a configuration field is out of range, or no configuration fits the budget.
    """
    of_mscsa, of_backbone = _sort_keywords(fields, backbone_kwargs or {})
    parsed = parse_model_name(name)
    if isinstance(pretrained_cfg, str):  # how timm passes on the tag of a name
        parsed, pretrained_cfg = replace(parsed, tag=pretrained_cfg), None
    given = given_description(pretrained_cfg, pretrained_cfg_overlay)
    is_whole = has_weights(given)
    num_classes = _first(num_classes, given.get("num_classes"), 1000)
    if in_chans is None:
        in_chans = given["input_size"][0] if given.get("input_size") else 3
    with torch.device(device) if device is not None else nullcontext():
        backbone = build_backbone(
            parsed.tagged_backbone,
            pretrained=pretrained and not is_whole,
            in_chans=in_chans,
            drop_path_rate=drop_path_rate,
            cache_dir=cache_dir,
            **of_backbone,
        )
        model = _compose(
            backbone,
            parsed,
            config=config,
            budget=budget,
            budget_size=budget_size,
            drop_path_rate=drop_path_rate,
            features_only=features_only,
            out_indices=out_indices,
            fields=of_mscsa,
            num_classes=num_classes,
            global_pool=global_pool,
            drop_rate=drop_rate,
        )
    model.to(device=device, dtype=dtype)
    describe_whole_model(model, parsed, given)
    model.pretrained_model_args = dict(pretrained_model_args or {})
    if pretrained and is_whole:
        load_whole_model(model, cache_dir)
    if checkpoint_path:
        load_weights(model, checkpoint_path)
    return model


def add_to(
    backbone: Any,
    *,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    num_classes: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    budget: float | None = None,
    budget_size: int | tuple[int, int] | None = None,
    config: MSCSAConfig | None = None,
    **fields: Any,
) -> MSCSAModel:
    """Add MSCSA to a timm model that is built already, weights and all.

    The model is taken over: it becomes `backbone` of the new one, loses its classifier and keeps its
    weights, its device and its type.

    >>> backbone = timm.create_model("resnet10t", num_classes=7)
    >>> model = mscsa.add_to(backbone, head_dim=8, squeeze_ratio=0.25)
    >>> model(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 7])

    Args:
        backbone: A timm model with a feature pyramid; not one of `features_only=True`, which has lost what
            tells its levels.
        features_only: Build the pyramid form.
        out_indices: Levels of the pyramid form, as in timm; all if None.
        num_classes: Classes of the new classifier; as many as the model has if None.
        drop_rate: Dropout before the classifier.
        drop_path_rate: Stochastic depth of MSCSA; that of the model if None.
        budget: Share of the model's MACs that MSCSA may cost.
        budget_size: Image size in pixels at which the budget holds; the model's default if None.
        config: The whole configuration of MSCSA.
        **fields: Fields of `MSCSAConfig`.
    Raises:
        UserError: If the model has no pyramid, has MSCSA already, or a keyword is unknown.
        ValueError: If a configuration field is out of range, or no configuration fits the budget.
    """
    of_mscsa, others = _sort_keywords(fields, {})
    if others:
        raise UnknownKeyword(f"{', '.join(others)} given: the backbone is built already; build it with them")
    if isinstance(backbone, (MSCSAModel, BackbonePyramid)):
        raise UserError(f"a {type(backbone).__name__} given: give the timm model itself, MSCSA is added here")
    cfg = getattr(backbone, "pretrained_cfg", None) or {}
    parsed = ModelName(cfg.get("architecture") or type(backbone).__name__, cfg.get("tag") or "", False)
    prepare_backbone(backbone, parsed.baseline)
    reference = next(backbone.parameters())
    model = _compose(
        backbone,
        parsed,
        config=config,
        budget=budget,
        budget_size=budget_size,
        drop_path_rate=drop_path_rate,
        features_only=features_only,
        out_indices=out_indices,
        fields=of_mscsa,
        num_classes=_first(num_classes, getattr(backbone, "num_classes", None), 1000),
        global_pool="avg",
        drop_rate=drop_rate,
    )
    model.to(device=reference.device, dtype=reference.dtype)
    describe_whole_model(model, parsed, {})
    return model


def build_pyramid(
    name: str,
    *,
    strides: Sequence[int] | None = None,
    pretrained: bool = False,
    drop_path_rate: float | None = None,
    fields: Mapping[str, Any] | None = None,
    budget: float | None = None,
    budget_size: tuple[int, int] | None = None,
    config: MSCSAConfig | None = None,
    backbone_kwargs: Mapping[str, Any] | None = None,
) -> MSCSAModel | BackbonePyramid:
    """Build a backbone as a pyramid, with MSCSA where `name` or an argument says so.

    Args:
        name: A timm name, or `mscsa_` + one for MSCSA in the paper's configuration where it has one.
        strides: Levels to give, by stride, finest first; all of stride >= 4 if None. MSCSA reads all
            levels in any case and fuses only these.
        pretrained: Load timm's weights into the backbone.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        fields: `MSCSAConfig` fields by name; adds MSCSA, {} with all choices left to `create_model`.
        budget: Add MSCSA and let it cost at most this share of the backbone's MACs.
        budget_size: (H, W) in pixels at which the budget holds.
        config: The whole configuration of MSCSA.
        backbone_kwargs: Arguments of the backbone's own timm constructor.
    Returns:
        Images (B, 3, H, W) to a list of maps (B, C_i, H_i, W_i), with timm's `feature_info`.
    Raises:
        UserError: If there is no such backbone, or it has no level of a stride asked for.
        ValueError: If a field is out of range.
    """
    parsed = parse_model_name(name)
    options = {"pretrained": pretrained, "drop_path_rate": drop_path_rate}
    backbone = build_backbone(parsed.tagged_backbone, **options, **(backbone_kwargs or {}))
    levels = pyramid_levels(backbone)
    attended_levels(levels, parsed.backbone)  # refuses what has one stride, with MSCSA and without
    out_indices = indices_of_strides(levels, strides, parsed.backbone)
    if not parsed.has_mscsa and fields is None and budget is None and config is None:
        return BackbonePyramid(backbone, out_indices)
    of_mscsa, others = _sort_keywords(fields or {}, {})
    if others:
        raise UnknownKeyword(f"{', '.join(others)} given among MSCSA's fields: give it in backbone_kwargs")
    model = _compose(
        backbone,
        parsed,
        config=config,
        budget=budget,
        budget_size=budget_size,
        drop_path_rate=drop_path_rate,
        features_only=True,
        out_indices=out_indices,
        fields=of_mscsa,
    )
    describe_whole_model(model, parsed, {})
    return model


def split_options(
    name: str, build: Callable[..., Any], options: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort the options of a dense model into its head's and those of `build_pyramid`.

    Args:
        name: Of the head, for messages.
        build: The function or class that makes it; its keyword arguments are its options.
        options: What was given.
    Raises:
        UserError: If one is neither; names the nearest.
    """
    of_head, of_pyramid = (
        [p.name for p in inspect.signature(f).parameters.values() if p.kind is p.KEYWORD_ONLY]
        for f in (build, build_pyramid)
    )
    # The head settles the strides, and its name what else it is made of.
    known = [each for each in (*of_head, *of_pyramid) if each not in ("strides", "cascade")]
    for option in options:
        if option not in known:
            near = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
            raise UserError(
                f"{name} has no option {option!r}: did you mean {near}? It has {', '.join(known)}"
            )
    chosen = {key: value for key, value in options.items() if key in of_head}
    return chosen, {key: value for key, value in options.items() if key not in chosen}


def _compose(
    backbone: Any,
    name: ModelName,
    *,
    config: MSCSAConfig | None,
    budget: float | None,
    budget_size: int | Sequence[int] | None,
    drop_path_rate: float | None,
    features_only: bool,
    out_indices: int | Sequence[int] | None,
    fields: Mapping[str, Any],
    **of_classifier: Any,
) -> MSCSAModel:
    """Choose the configuration for a built backbone and put the two together."""
    asked = resolve_out_indices(pyramid_levels(backbone), out_indices) if features_only else None
    chosen = choose_config(
        backbone,
        name.backbone,
        config=config,
        budget=budget,
        budget_size=budget_size,
        drop_path_rate=drop_path_rate,
        out_indices=asked,
        fields=fields,
    )
    preset = PRESETS.get(name.backbone)
    return MSCSAModel(
        backbone,
        chosen,
        features_only=features_only,
        out_indices=out_indices,
        pool_first=preset is not None and preset.pool_first,
        name=name.backbone,
        **of_classifier,
    )


def _sort_keywords(
    fields: Mapping[str, Any], backbone_kwargs: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort keywords into MSCSA's and the backbone's.

    Raises:
        UserError: If one is neither; names the nearest.
    """
    own = [key for key in backbone_kwargs if key in OWN_KEYWORDS]
    if own:
        raise UserError(f"backbone_kwargs has {', '.join(own)}: give it to create_model itself")
    fields = dict(fields)
    feature_cls = fields.pop("feature_cls", None)
    if feature_cls is not None and feature_cls not in FEATURE_CLASSES:
        raise UserError(
            f"feature_cls={feature_cls!r} given: MSCSA's pyramid is a list of maps; leave it out, or give "
            f"{' or '.join(map(repr, FEATURE_CLASSES))}"
        )
    of_backbone = {**backbone_kwargs}
    for key in BACKBONE_KEYWORDS:
        if fields.get(key) is not None:
            of_backbone[key] = fields[key]
        fields.pop(key, None)
    unknown = [field for field in fields if field not in CONFIG_FIELDS]
    if unknown:
        near = [match for field in unknown for match in difflib.get_close_matches(field, CONFIG_FIELDS)]
        hint = (
            f"did you mean {' or '.join(near)}?" if near else f"MSCSAConfig has {', '.join(CONFIG_FIELDS)};"
        )
        raise UnknownKeyword(
            f"unknown keyword {', '.join(unknown)}: {hint} the backbone's own go in backbone_kwargs={{...}}"
        )
    return fields, of_backbone


def _first(*counts: int | None) -> int:
    """Give the first count that is known; timm writes -1 where none is."""
    return next(count for count in counts if count is not None and count != -1)
