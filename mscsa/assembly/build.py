"""From a recipe's `ModelSpec` to a model."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import torch
from torch import nn

from mscsa.attention.config import CONFIG_FIELDS
from mscsa.attention.module import MSCSA
from mscsa.backbones.timm_contract import start_small
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.checkpoints.loading import load_weights
from mscsa.detection.build import build_detector
from mscsa.detection.detector import Detector
from mscsa.errors import UserError, unknown_name
from mscsa.heads import COUNT
from mscsa.models.build import create_model
from mscsa.models.neck import NeckPyramid
from mscsa.modes import evaluating
from mscsa.neck_table import MSCSA_NECK, find_neck
from mscsa.recipes.spec import ModelSpec
from mscsa.segmentation.build import build_segmenter
from mscsa.segmentation.segmenter import Segmenter

logger = logging.getLogger(__name__)

_FIELDS = tuple(name for name in CONFIG_FIELDS if name != "drop_path_rate")
"""What `ModelSpec.mscsa` may hold; the drop path rate is the whole model's."""


def build_model(spec: ModelSpec, num_classes: int, *, input_size: tuple[int, int] | None = None) -> nn.Module:
    """Build the model that a spec describes and load its `checkpoint`, if it names one.

    Args:
        num_classes: Classes of the head.
        input_size: (H, W) in px at which `spec.budget` holds; the backbone's default if None.
    Raises:
        UserError: If the name is not known (names the nearest), an argument is not one of the
            backbone's, two necks are asked for, or the checkpoint does not fit.
        ValueError: If a field of MSCSA or of another neck is out of range.
    """
    if not COUNT.has(num_classes):
        raise UserError(f"num_classes={num_classes!r} given: give {COUNT.says}")
    spec = _with_one_neck(spec)
    if spec.checkpoint is not None:  # fills the backbone wholly
        spec = replace(spec, pretrained=False)
    budget_size = None if spec.budget is None else input_size
    if spec.head is None:
        model = _build_classifier(spec, num_classes, budget_size)
    else:
        model = _build_dense(spec, spec.head, num_classes, budget_size)
    if spec.checkpoint is not None:
        logger.info("%s: %s", spec.checkpoint, load_weights(model, spec.checkpoint))
    return model


def _build_classifier(spec: ModelSpec, num_classes: int, budget_size: tuple[int, int] | None) -> nn.Module:
    """Build the backbone as a classifier, with MSCSA where the spec says so; both arms get the same."""
    shared: dict[str, Any] = {
        "pretrained": spec.pretrained,
        "num_classes": num_classes,
        "drop_path_rate": spec.drop_path_rate,
    }
    if spec.drop_rate is not None:
        shared["drop_rate"] = spec.drop_rate
    if spec.neck_name is not None:
        model = create_model(
            spec.name,
            budget=spec.budget,
            budget_size=budget_size,
            keep_classifier=spec.keep_classifier,
            backbone_kwargs=spec.backbone_kwargs,
            **shared,
            **(spec.mscsa or {}),
        )
        own = model.backbone if spec.keep_classifier else None
    elif spec.keep_classifier:
        raise UserError(f"model.keep_classifier with {spec.name}, which is nothing else: leave it out")
    else:
        own = model = build_backbone(spec.name, **shared, **spec.backbone_kwargs)
    if own is not None and spec.checkpoint is not None:
        start_small(own.get_classifier(), num_classes)  # as on pretrained weights, unless the file fills it
    return model


def _build_dense(
    spec: ModelSpec, head: str, num_classes: int, budget_size: tuple[int, int] | None
) -> Segmenter | Detector:
    """Build a head on the backbone's pyramid."""
    if spec.drop_rate:
        raise UserError("model.drop_rate is the classifier's: give model.head_kwargs '{dropout: ...}'")
    if spec.keep_classifier:
        raise UserError(f"model.keep_classifier with the head {head}: it has no classifier; leave one out")
    build = build_segmenter if spec.task == "segmentation" else build_detector
    options: dict[str, Any] = {
        "pretrained": spec.pretrained,
        "drop_path_rate": spec.drop_path_rate,
        "neck": spec.neck,
        "neck_config": None if spec.neck is None else spec.neck_kwargs,
        "fields": spec.mscsa,
        "budget": spec.budget,
        "budget_size": budget_size,
        "backbone_kwargs": spec.backbone_kwargs,
    }
    doubled = [name for name in spec.head_kwargs if name in options]
    if doubled:
        raise UserError(f"model.head_kwargs has {', '.join(doubled)}: these are fields of model itself")
    return build(head, spec.name, num_classes, **options, **spec.head_kwargs)


def resolved_spec(spec: ModelSpec, model: nn.Module) -> ModelSpec:
    """Return a spec that rebuilds the structure of `model` with nothing left to solve or to load.

    A budget becomes the configuration that was found for it, so that a later solver or table
    cannot change what an old file of weights means.
    """
    spec = replace(spec, pretrained=False, checkpoint=None, baseline_checkpoint=None)
    spec = replace(spec, frozen=False, freeze=(), loss={})
    found = next((module for module in model.modules() if isinstance(module, (MSCSA, NeckPyramid))), None)
    if found is None:
        return spec
    if isinstance(found, NeckPyramid):
        return replace(spec, budget=None, neck_kwargs=asdict(found.neck.config))
    config = asdict(found.config)
    mscsa = {name: config[name] for name in _FIELDS}
    return replace(spec, budget=None, neck=None, neck_kwargs={}, mscsa=mscsa)


def check_input_size(model: nn.Module, spec: ModelSpec, size: tuple[int, int]) -> None:
    """Run one blank image through the model, to refuse a size it does not take before the run starts.

    Raises:
        UserError: If the model does not take the size.
    """
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype)
    # What stands on a detector's pyramid takes any size, and a while.
    run = model.pyramid if isinstance(model, Detector) else model
    try:
        with evaluating(model), torch.no_grad():
            run(image)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {spec.name} does not take images of {size[0]}x{size[1]}: {reason}; "
            "change their size, or build it for that size with model.backbone_kwargs"
        ) from error


def _with_one_neck(spec: ModelSpec) -> ModelSpec:
    """Check what a spec says of its neck, and say MSCSA's by `mscsa` alone.

    Raises:
        UserError: If it says two things, or what cannot be.
    """
    if spec.neck is None:
        if spec.neck_kwargs:
            raise UserError("model.neck_kwargs given without model.neck: name the neck, or leave them out")
        _check_fields("model.mscsa", spec.mscsa or {}, _FIELDS)
        return spec
    entry = find_neck(spec.neck)
    if spec.mscsa is not None:
        raise UserError(
            f"model.neck {spec.neck} with model.mscsa: a model has one neck; give its fields in "
            "model.neck_kwargs, or leave model.neck out"
        )
    if spec.neck == MSCSA_NECK:
        _check_fields("model.neck_kwargs", spec.neck_kwargs, _FIELDS)
        return replace(spec, neck=None, neck_kwargs={}, mscsa=spec.neck_kwargs)
    if spec.head is None:
        raise UserError(
            f"model.neck {spec.neck} without a head: a classifier has no pyramid; give a recipe with a head "
            "(model.head), or leave model.neck out"
        )
    names = [each.name for each in fields(entry.load().config)]
    _check_fields("model.neck_kwargs", spec.neck_kwargs, names)
    return spec


def _check_fields(option: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    for name in given:
        if name == "drop_path_rate":
            raise UserError(f"{option} has no field 'drop_path_rate': give model.drop_path_rate")
        if name not in known:
            raise unknown_name(f"{option} has no field", name, known)
