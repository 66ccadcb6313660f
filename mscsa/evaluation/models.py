"""From a recipe's `ModelSpec` to a model."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from typing import Any

import timm
import torch
from torch import nn

import mscsa
from mscsa.backbones.timm_pyramid import check_model_name
from mscsa.checkpoints import load_weights
from mscsa.enhanced import MSCSAModel
from mscsa.errors import UserError
from mscsa.recipes.spec import ModelSpec

logger = logging.getLogger(__name__)


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
    options: dict[str, Any] = {"drop_rate": spec.drop_rate, "num_classes": num_classes}
    if spec.mscsa is not None or spec.budget is not None:
        model: nn.Module = mscsa.create_model(
            spec.name,
            pretrained=spec.pretrained,
            drop_path_rate=spec.drop_path_rate,
            budget=spec.budget,
            budget_size=None if spec.budget is None else image_size,
            backbone_kwargs=spec.backbone_kwargs,
            **options,
            **(spec.mscsa or {}),
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
    return replace(spec, budget=None, mscsa=asdict(model.mscsa.config))


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
