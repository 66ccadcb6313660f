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

import mscsa
from mscsa.attention import MSCSAConfig
from mscsa.attention.config import CONFIG_FIELDS
from mscsa.backbones.timm_pyramid import check_model_name
from mscsa.checkpoints import load_weights
from mscsa.enhanced import MSCSAModel
from mscsa.errors import UserError
from mscsa.recipes.spec import ModelSpec

logger = logging.getLogger(__name__)

_FIELDS = tuple(name for name in CONFIG_FIELDS if name != "drop_path_rate")
"""What `ModelSpec.mscsa` may hold; the drop path rate is the whole model's."""


def build_model(spec: ModelSpec, num_classes: int, *, image_size: int | None = None) -> nn.Module:
    """Build the classifier that a spec describes and load its `checkpoint`, if it names one.

    Args:
        num_classes: Classes of the head.
        image_size: Side in px at which `spec.budget` holds; the backbone's default if None.
    Raises:
        UserError: If the name is not known (names the nearest), an argument is not one of the
            backbone's, or the checkpoint does not fit.
        ValueError: If an MSCSA field is out of range.
    """
    check_model_name(spec.name)
    _check_fields(spec.mscsa or {})
    options: dict[str, Any] = {"drop_rate": spec.drop_rate, "num_classes": num_classes}
    if spec.mscsa is not None or spec.budget is not None:
        if spec.mscsa is not None and spec.mscsa.keys() == set(_FIELDS):
            # Resolved: nothing is left to choose.
            options["config"] = MSCSAConfig(**spec.mscsa, drop_path_rate=spec.drop_path_rate)
        else:
            options |= spec.mscsa or {}
        model: nn.Module = mscsa.create_model(
            spec.name,
            pretrained=spec.pretrained,
            drop_path_rate=spec.drop_path_rate,
            budget=spec.budget,
            budget_size=None if spec.budget is None else image_size,
            backbone_kwargs=spec.backbone_kwargs,
            **options,
        )
    else:
        model = _timm_model(spec, options)
    if spec.checkpoint is not None:
        logger.info("%s: %s", spec.checkpoint, load_weights(model, spec.checkpoint))
    return model


def resolved_spec(spec: ModelSpec, model: nn.Module) -> ModelSpec:
    """Return a spec that rebuilds the structure of `model` with nothing left to solve or to load.

    A budget becomes the configuration that was found for it, so that a later solver or table
    cannot change what an old file of weights means.
    """
    spec = replace(spec, pretrained=False, checkpoint=None, freeze=())
    if not isinstance(model, MSCSAModel):
        return spec
    config = asdict(model.mscsa.config)
    return replace(spec, budget=None, mscsa={name: config[name] for name in _FIELDS})


def check_image_size(model: nn.Module, name: str, image_size: int) -> None:
    """Run one blank image through the model, to refuse a size it does not take before the run starts.

    Raises:
        UserError: If the model does not take the size.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    parameter = next(model.parameters())
    image = torch.zeros(1, 3, image_size, image_size, device=parameter.device, dtype=parameter.dtype)
    try:
        with torch.no_grad():
            model(image)
    except (AssertionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"model {name} does not take images of {image_size}x{image_size}: {reason}; "
            "change data.image_size, or build it for that size with model.backbone_kwargs"
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
