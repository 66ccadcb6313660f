"""From a recipe's `ModelSpec` to a model."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import timm
import torch
from torch import nn

from mscsa.attention import MSCSA, MSCSAConfig
from mscsa.attention.config import CONFIG_FIELDS
from mscsa.backbones.timm_pyramid import check_model_name
from mscsa.checkpoints import load_weights
from mscsa.detection import Detector, build_detector
from mscsa.detection import load_backbone as start_detector
from mscsa.errors import UserError
from mscsa.models.build import create_model
from mscsa.recipes.spec import ModelSpec
from mscsa.segmentation import Segmenter, build_segmenter
from mscsa.segmentation import load_backbone as start_segmenter

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
            backbone's, or the checkpoint does not fit.
        ValueError: If an MSCSA field is out of range.
    """
    _check_fields(spec.mscsa or {})
    if spec.task == "classification":
        model = _build_classifier(spec, num_classes, input_size)
        if spec.checkpoint is not None:
            logger.info("%s: %s", spec.checkpoint, load_weights(model, spec.checkpoint))
        return model
    model = _build_dense(spec, num_classes, input_size)
    if spec.checkpoint is not None:
        if isinstance(model, Detector):
            report = start_detector(model, spec.checkpoint)
        else:
            report = start_segmenter(model, spec.checkpoint)
        logger.info("%s: %s", spec.checkpoint, report)
    return model


def _build_classifier(spec: ModelSpec, num_classes: int, input_size: tuple[int, int] | None) -> nn.Module:
    check_model_name(spec.name)
    options: dict[str, Any] = {"drop_rate": spec.drop_rate, "num_classes": num_classes}
    if spec.mscsa is not None or spec.budget is not None:
        if spec.mscsa is not None and spec.mscsa.keys() == set(_FIELDS):
            # Resolved: nothing is left to choose.
            options["config"] = MSCSAConfig(**spec.mscsa, drop_path_rate=spec.drop_path_rate)
        else:
            options |= spec.mscsa or {}
        return create_model(
            spec.name,
            pretrained=spec.pretrained,
            drop_path_rate=spec.drop_path_rate,
            budget=spec.budget,
            budget_size=None if spec.budget is None else input_size,
            backbone_kwargs=spec.backbone_kwargs,
            **options,
        )
    return _timm_model(spec, options)


def _build_dense(
    spec: ModelSpec, num_classes: int, input_size: tuple[int, int] | None
) -> Segmenter | Detector:
    assert spec.head is not None
    if spec.drop_rate:
        raise UserError("model.drop_rate is the classifier's: give model.head_kwargs '{dropout: ...}'")
    build = build_segmenter if spec.task == "segmentation" else build_detector
    return build(
        spec.head,
        spec.name,
        num_classes,
        pretrained=spec.pretrained,
        drop_path_rate=spec.drop_path_rate,
        **_choice_of_mscsa(spec),
        budget_size=None if spec.budget is None else input_size,
        backbone_kwargs=spec.backbone_kwargs,
        **spec.head_kwargs,
    )


def _choice_of_mscsa(spec: ModelSpec) -> dict[str, Any]:
    """Give the arguments of `build_pyramid` that say what MSCSA is to be."""
    if spec.mscsa is not None and spec.mscsa.keys() == set(_FIELDS):
        return {"config": MSCSAConfig(**spec.mscsa, drop_path_rate=spec.drop_path_rate)}
    return {"fields": spec.mscsa, "budget": spec.budget}


def resolved_spec(spec: ModelSpec, model: nn.Module) -> ModelSpec:
    """Return a spec that rebuilds the structure of `model` with nothing left to solve or to load.

    A budget becomes the configuration that was found for it, so that a later solver or table
    cannot change what an old file of weights means.
    """
    spec = replace(spec, pretrained=False, checkpoint=None, baseline_checkpoint=None, freeze=())
    found = next((module for module in model.modules() if isinstance(module, MSCSA)), None)
    if found is None:
        return spec
    config = asdict(found.config)
    return replace(spec, budget=None, mscsa={name: config[name] for name in _FIELDS})


def check_input_size(model: nn.Module, spec: ModelSpec, size: tuple[int, int]) -> None:
    """Run one blank image through the model, to refuse a size it does not take before the run starts.

    Raises:
        UserError: If the model does not take the size.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, *size, device=parameter.device, dtype=parameter.dtype)
    # What stands on a detector's pyramid takes any size, and a while.
    run = model.pyramid if isinstance(model, Detector) else model
    try:
        with torch.no_grad():
            run(image)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {spec.name} does not take images of {size[0]}x{size[1]}: {reason}; "
            "change their size, or build it for that size with model.backbone_kwargs"
        ) from error
    finally:
        for module, mode in modes:
            module.training = mode


def _check_fields(given: Mapping[str, Any]) -> None:
    for name in given:
        if name not in _FIELDS:
            near = difflib.get_close_matches(name, _FIELDS, n=1, cutoff=0.0)[0]
            hint = "give model.drop_path_rate" if name == "drop_path_rate" else f"did you mean {near}?"
            raise UserError(f"model.mscsa has no field {name!r}: {hint}")


def _timm_model(spec: ModelSpec, options: dict[str, Any]) -> nn.Module:
    if spec.name.startswith("mscsa_"):
        options["backbone_kwargs"] = spec.backbone_kwargs
    else:
        options |= spec.backbone_kwargs
    if spec.drop_path_rate:  # not every timm model has stochastic depth
        options["drop_path_rate"] = spec.drop_path_rate
    try:
        return timm.create_model(spec.name, pretrained=spec.pretrained, **options)
    except TypeError as error:
        given = {key: value for key, value in options.items() if key != "num_classes"}
        raise UserError(
            f"the model {spec.name} does not take {given}: {error}; "
            "change model.backbone_kwargs, model.drop_rate or model.drop_path_rate"
        ) from error
