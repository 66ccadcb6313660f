"""Building models: MSCSA on a backbone that timm knows by name, or on one that is built already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch

from mscsa.attention.config import MSCSAConfig
from mscsa.backbones.presets import PRESETS
from mscsa.backbones.timm_contract import start_small
from mscsa.backbones.timm_pyramid import (
    attended_levels,
    build_backbone,
    drop_rate_of,
    prepare_backbone,
    pyramid_levels,
    refuse_pruned,
)
from mscsa.checkpoints.loading import load_weights
from mscsa.errors import UnknownKeyword, UserError
from mscsa.models.configure import ConfigRequest, choose_config, choose_neck_config
from mscsa.models.keywords import check_mapping, sort_keywords
from mscsa.models.model import MSCSAModel
from mscsa.models.neck import NeckPyramid
from mscsa.models.pretrained import WholeModel
from mscsa.models.pyramid import BackboneModel, BackbonePyramid, indices_of_strides, resolve_out_indices
from mscsa.names import MSCSA_PREFIX, ModelName, parse_model_name
from mscsa.neck_table import MSCSA_NECK, find_neck

_LOADED_BY_TIMM = "name a plain backbone; a saved model is loaded by timm.create_model, with its own name"


def create_model(
    name: str,
    *,
    pretrained: bool = False,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    keep_classifier: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    budget: float | None = None,
    budget_size: int | Sequence[int] | None = None,
    config: MSCSAConfig | Mapping[str, Any] | None = None,
    backbone_kwargs: Mapping[str, Any] | None = None,
    **keywords: Any,
) -> MSCSAModel:
    """Add MSCSA to the timm backbone `name`; its configuration is chosen as `choose_config` says.

    Args:
        name: timm name of a backbone with a feature pyramid, with or without a pretrained tag and
            `mscsa_` before it. `mscsa_coat_*` builds the serial part of CoaT.
        pretrained: Load timm's weights into the backbone, MSCSA staying as it starts; or those that
            `pretrained_cfg` or `pretrained_cfg_overlay` names, of the whole model or the plain backbone.
        features_only: Build the pyramid form: a list of fused maps, with timm's `feature_info`.
        out_indices: Levels of the pyramid form, with timm's meaning; all if None.
        keep_classifier: Keep the backbone's own classifier and add MSCSA's logits to its: with pretrained
            weights the model says at step 0 what it said without. By default, as in the paper, MSCSA's alone.
        num_classes: Of the classifier; 0 gives pooled features; those of the weights, or 1000, if None.
        in_chans: Channels of the image; those of the weights, or 3, if None.
        drop_rate: Dropout before the classifier; the backbone's default if None.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        budget: Share of the backbone's MACs that MSCSA may cost (0.10 = +10 %).
        budget_size: Image size in pixels at which the budget holds; the backbone's default if None.
        config: The whole configuration of MSCSA, or fields of it by name.
        backbone_kwargs: Arguments of the backbone's own constructor.
        **keywords: Fields of `MSCSAConfig` (`depth=2`, `pool_stride=16`), timm's about the whole model
            (`TimmKeywords`), or usual ones of timm's backbones (`BACKBONE_KEYWORDS`).
    Raises:
        UserError: If the name is unknown, the backbone has no pyramid, a keyword is unknown (this one is a
            TypeError too), or weights do not fit.
        ValueError: If a configuration field is out of range, or no configuration fits the budget.
    """
    said = sort_keywords(keywords, backbone_kwargs, keep_classifier=keep_classifier)
    whole = WholeModel(parse_model_name(name), said.timm)
    sizes: dict[str, Any] = {"config": config, "budget": budget, "budget_size": budget_size}
    request = ConfigRequest(**sizes, drop_path_rate=drop_path_rate, fields=said.mscsa)
    form = {"features_only": features_only, "out_indices": out_indices, "keep_classifier": keep_classifier}
    backbone_options = {
        "pretrained": pretrained and not whole.has_weights,
        "in_chans": whole.in_chans if in_chans is None else in_chans,
        "drop_path_rate": drop_path_rate,
        **said.backbone,
    }
    of_classifier: dict[str, Any] = {"num_classes": whole.num_classes if num_classes is None else num_classes}
    of_classifier |= {} if drop_rate is None else {"drop_rate": drop_rate}
    if keep_classifier:
        backbone_options |= of_classifier
    return _build(whole, request, backbone_options, pretrained, **of_classifier, **form)


def _build(
    whole: WholeModel,
    request: ConfigRequest,
    backbone_options: Mapping[str, Any],
    pretrained: bool,
    **form: Any,
) -> MSCSAModel:
    """Build backbone and MSCSA where they are to lie, describe them to timm and load what is named."""
    said = whole.said
    with torch.device(said.device) if said.device is not None else nullcontext():
        backbone = build_backbone(whole.name.tagged_backbone, cache_dir=said.cache_dir, **backbone_options)
        _check_bare(backbone, _LOADED_BY_TIMM)
        model = _compose(backbone, whole.name, request, global_pool=said.global_pool, **form)
    model.to(device=said.device, dtype=said.dtype)
    whole.describe(model)
    has_weights = pretrained and whole.has_weights
    if form["keep_classifier"] and (has_weights or (said.checkpoint_path and not pretrained)):
        start_small(backbone.get_classifier(), backbone.num_classes)  # unless the weights fill it
    if has_weights:
        whole.load_into(model)
    if said.checkpoint_path:
        load_weights(model, said.checkpoint_path)
    return model


def add_to(
    backbone: Any,
    *,
    features_only: bool = False,
    out_indices: int | Sequence[int] | None = None,
    keep_classifier: bool = False,
    num_classes: int | None = None,
    drop_rate: float | None = None,
    drop_path_rate: float | None = None,
    budget: float | None = None,
    budget_size: int | Sequence[int] | None = None,
    config: MSCSAConfig | Mapping[str, Any] | None = None,
    **fields: Any,
) -> MSCSAModel:
    """Add MSCSA to a timm model that is built already, weights and all.

    The model is taken over: it becomes `backbone` of the new one, loses its classifier and keeps its
    weights, its device, its type, and whether it is in training.

    >>> backbone = timm.create_model("resnet10t", num_classes=7)
    >>> model = mscsa.add_to(backbone, head_dim=8, squeeze_ratio=0.25)
    >>> model(torch.rand(2, 3, 64, 64)).shape
    torch.Size([2, 7])

    Args:
        backbone: A timm model with a feature pyramid; not one of `features_only=True`, which has lost what
            tells its levels.
        features_only: Build the pyramid form.
        out_indices: Levels of the pyramid form, as in timm; all if None.
        keep_classifier: Keep the model's own classifier and add MSCSA's logits to its, 0 at the start.
        num_classes: Classes of the classifier; as many as the model has if None.
        drop_rate: Dropout before the classifier; the backbone's default if None.
        drop_path_rate: Stochastic depth of MSCSA; that of the model if None.
        budget: Share of the model's MACs that MSCSA may cost.
        budget_size: Image size in pixels at which the budget holds; the model's default if None.
        config: The whole configuration of MSCSA, or fields of it by name.
        **fields: Fields of `MSCSAConfig`.
    Raises:
        UserError: If the model has no pyramid, has MSCSA already, or a keyword is unknown.
        ValueError: If a configuration field is out of range, or no configuration fits the budget.
    """
    request = ConfigRequest(
        config=config,
        budget=budget,
        budget_size=budget_size,
        drop_path_rate=drop_path_rate,
        fields=_fields_alone(fields, "the backbone is built already; build it with them"),
    )
    form = {
        "features_only": features_only,
        "out_indices": out_indices,
        "keep_classifier": keep_classifier,
        "drop_rate": drop_rate,
    }
    return _add(backbone, request, num_classes=num_classes, **form)


def _add(backbone: Any, request: ConfigRequest, *, num_classes: int | None, **form: Any) -> MSCSAModel:
    _check_bare(backbone, "give the timm model itself, MSCSA is added here")
    cfg = getattr(backbone, "pretrained_cfg", None) or {}
    name = ModelName(cfg.get("architecture") or type(backbone).__name__, cfg.get("tag") or "", False)
    prepare_backbone(backbone, name.baseline)
    levels = pyramid_levels(backbone)
    attended_levels(levels, name.baseline)  # refuses what has one stride
    refuse_pruned(backbone, levels)
    if num_classes is None:
        num_classes = getattr(backbone, "num_classes", 1000)
    reference, was_training = next(backbone.parameters()), backbone.training
    model = _compose(backbone, name, request, num_classes=num_classes, **form)
    model.to(device=reference.device, dtype=reference.dtype).train(was_training)
    WholeModel(name).describe(model)
    return model


def build_pyramid(
    name: str,
    *,
    strides: Sequence[int] | None = None,
    fuse: bool = True,
    pretrained: bool = False,
    in_chans: int | None = None,
    drop_path_rate: float | None = None,
    neck: str | None = None,
    neck_config: Any = None,
    fields: Mapping[str, Any] | None = None,
    budget: float | None = None,
    budget_size: tuple[int, int] | None = None,
    config: MSCSAConfig | Mapping[str, Any] | None = None,
    backbone_kwargs: Mapping[str, Any] | None = None,
) -> MSCSAModel | NeckPyramid | BackbonePyramid:
    """Build a backbone as a pyramid, with MSCSA where `name` or an argument says so, or with another neck.

    Args:
        name: A timm name, or `mscsa_` + one for MSCSA in the paper's configuration where it has one.
        strides: Levels to give, by stride, finest first; all of stride >= 4 if None. A neck reads all
            levels in any case and gives back only these.
        fuse: Build MSCSA's fusions; False for a head that takes its tokens and the backbone's own maps.
        pretrained: Load timm's weights into the backbone.
        in_chans: Channels of the image; 3 if None.
        drop_path_rate: Stochastic depth of backbone and MSCSA; the backbone's default if None.
        neck: One of `mscsa.necks.NECKS`; "mscsa" is what `mscsa_` and `fields` mean.
        neck_config: The neck's configuration, or fields of it by name. A budget chooses what is not among
            the fields; without one it is the neck's default (MSCSA's as `choose_config` says).
        fields: `MSCSAConfig` fields by name; adds MSCSA, {} with all choices left to `choose_config`.
        budget: Let the neck, MSCSA if none is named, cost at most this share of the backbone's MACs.
        budget_size: (H, W) in pixels at which the budget holds.
        config: The whole configuration of MSCSA, or fields of it by name.
        backbone_kwargs: Arguments of the backbone's own timm constructor.
    Returns:
        Images (B, 3, H, W) to a list of maps (B, C_i, H_i, W_i), with timm's `feature_info`.
    Raises:
        UserError: If there is no such backbone or neck, it has no level of a stride asked for, or two necks
            are asked for.
        ValueError: If a field is out of range, or no configuration fits the budget.
    """
    parsed = parse_model_name(name)
    check_mapping("fields", fields)
    check_mapping("backbone_kwargs", backbone_kwargs)
    given = {"config": config, "fields": fields}
    sizes = {"budget": budget, "budget_size": budget_size, "drop_path_rate": drop_path_rate}
    request = _neck_request(parsed, neck, neck_config, given, **sizes)
    options: dict[str, Any] = {"pretrained": pretrained, "drop_path_rate": drop_path_rate}
    if in_chans is not None:
        options["in_chans"] = in_chans
    backbone = build_backbone(parsed.tagged_backbone, **{**(backbone_kwargs or {}), **options})
    _check_bare(backbone, _LOADED_BY_TIMM)
    levels = pyramid_levels(backbone)
    attended_levels(levels, parsed.backbone)  # refuses what has one stride, with MSCSA and without
    out_indices = indices_of_strides(levels, strides, parsed.backbone)
    return _with_neck(backbone, parsed, request, out_indices, fuse)


def _with_neck(
    backbone: Any, name: ModelName, request: ConfigRequest | None, out_indices: Sequence[int], fuse: bool
) -> MSCSAModel | NeckPyramid | BackbonePyramid:
    """Put the neck that is asked for, if one is, on a built backbone."""
    if request is None:
        return BackbonePyramid(backbone, out_indices)
    if request.neck != MSCSA_NECK:
        chosen = choose_neck_config(backbone, name.backbone, request, out_indices)
        return NeckPyramid(backbone, request.neck, chosen, out_indices=out_indices, name=name.backbone)
    model = _compose(backbone, name, request, features_only=True, out_indices=out_indices, fuse=fuse)
    WholeModel(name).describe(model)
    return model


def _neck_request(
    name: ModelName, neck: str | None, neck_config: Any, of_mscsa: Mapping[str, Any], **others: Any
) -> ConfigRequest | None:
    """Say which neck is asked for, and what of it; None for none.

    Args:
        name: Of the model.
        neck: By name.
        neck_config: Its configuration, or fields of it.
        of_mscsa: MSCSA's own arguments, `config` and `fields`.
        **others: Of the request.
    Raises:
        UserError: If they say two things.
    """
    own = {key: value for key, value in of_mscsa.items() if value is not None}
    if neck is None and neck_config is not None:
        raise UserError("neck_config given without neck: name the neck, or give MSCSA's as config or fields")
    if neck is None and not (name.has_mscsa or own or others["budget"] is not None):
        return None
    kind = MSCSA_NECK if neck is None else neck
    find_neck(kind)
    is_other = kind != MSCSA_NECK
    if (is_other and name.has_mscsa) or (neck is not None and own):
        said = f"MSCSA's {' and '.join(own)} (--mscsa)" if own else f"the name {name.with_mscsa}"
        remedy = "MSCSA's out" if own else f"{MSCSA_PREFIX} out of the name"
        raise UserError(
            f"the neck {neck} given with {said}: a model has one neck; give what that neck is made of by "
            f"neck_config (--neck-config), or leave {remedy}"
        )
    if neck is not None:
        own = {"fields" if isinstance(neck_config, Mapping) else "config": neck_config}
    fields = own.pop("fields", None) or {}
    if not is_other:
        fields = _fields_alone(fields, "the backbone's own go in backbone_kwargs")
    return ConfigRequest(neck=kind, config=own.get("config"), fields=fields, **others)


def _check_bare(backbone: Any, remedy: str) -> None:
    """Refuse what is no backbone but a model of ours already."""
    if hasattr(backbone, "_orig_mod"):
        raise UserError("a compiled backbone given: add MSCSA to the model itself, and compile the whole")
    if isinstance(backbone, BackboneModel):
        has_it = "has MSCSA" if isinstance(backbone, MSCSAModel) else "is a pyramid"
        raise UserError(
            f"a {type(backbone).__name__} given as the backbone, which {has_it} already: {remedy}"
        )


def _compose(
    backbone: Any,
    name: ModelName,
    request: ConfigRequest,
    *,
    features_only: bool,
    out_indices: int | Sequence[int] | None,
    fuse: bool = True,
    drop_rate: float | None = None,
    **of_classifier: Any,
) -> MSCSAModel:
    """Choose the configuration for a built backbone and put the two together."""
    if drop_rate is None:
        drop_rate = drop_rate_of(backbone)
    fused: Sequence[int] | None = None
    if features_only:
        fused = resolve_out_indices(pyramid_levels(backbone), out_indices) if fuse else ()
    preset = PRESETS.get(name.backbone)
    return MSCSAModel(
        backbone,
        choose_config(backbone, name.backbone, request, fused),
        features_only=features_only,
        out_indices=out_indices,
        fuse=fuse,
        pool_first=preset is not None and preset.pool_first,
        name=name.backbone,
        drop_rate=drop_rate,
        **of_classifier,
    )


def _fields_alone(fields: Mapping[str, Any], hint: str) -> dict[str, Any]:
    """Check that keywords are fields of `MSCSAConfig`, all of them."""
    found = sort_keywords(fields)
    if len(found.mscsa) < len(fields):
        others = ", ".join(key for key in fields if key not in found.mscsa)
        raise UnknownKeyword(f"{others} given: {hint}")
    return found.mscsa
