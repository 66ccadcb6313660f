"""The model whose attention is looked at, trained or by name, and how it wants its images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from timm.data import resolve_data_config
from torch import Tensor, nn

from mscsa.assembly.weights_file import load_trained
from mscsa.attention.module import MSCSA
from mscsa.backbones.timm_pyramid import check_model_name
from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.models.build import create_model
from mscsa.names import parse_model_name


@dataclass(frozen=True, kw_only=True)
class SaliencyModel:
    """A model to look into, and how it wants its images."""

    name: str
    model: nn.Module
    size: tuple[int, int]
    """(H, W) in pixels."""
    mean: tuple[float, ...]
    std: tuple[float, ...]
    is_trained: bool
    """Whether MSCSA has weights that were trained."""

    def prepare(self, image: Image.Image) -> tuple[Image.Image, Tensor]:
        """Resize an RGB image, without a crop, and normalise it: the picture and (3, H, W)."""
        resized = image.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        pixels = torch.from_numpy(np.array(resized, np.float32) / 255).permute(2, 0, 1)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return resized, (pixels - mean) / std


def load_saliency_model(
    name: str | None,
    checkpoint: str | Path | None,
    *,
    pretrained: bool = False,
    size: tuple[int, int] | None = None,
) -> SaliencyModel:
    """Load a trained model, or build one by name.

    Args:
        name: `mscsa_` + a timm name; not needed with a checkpoint.
        checkpoint: A file that `mscsa train` wrote, of any task.
        pretrained: Load timm's weights into the backbone of a model by name.
        size: (H, W) of the images in pixels; as in training, or the model's default, if None.
    Raises:
        UserError: If neither or both are given, the file is not usable, or the model has no MSCSA.
    """
    if checkpoint is not None and name is None:
        return _load_trained(checkpoint, size)
    if name is None or checkpoint is not None:
        raise UserError("give either --model NAME or --checkpoint FILE: what to look into")
    parsed = parse_model_name(name)
    check_model_name(parsed.without_mscsa)
    if not parsed.has_mscsa:
        raise UserError(f"model {name} has no MSCSA to look into: give {parsed.with_mscsa}")
    model = create_model(name, pretrained=pretrained)
    cfg = dict(model.pretrained_cfg)
    return _saliency_model(name, model, cfg, size or tuple(cfg["input_size"][-2:]), is_trained=False)


def _load_trained(checkpoint: str | Path, size: tuple[int, int] | None) -> SaliencyModel:
    model: Any
    model, info = load_trained(checkpoint)
    name = parse_model_name(info.model.name)
    if not any(isinstance(module, MSCSA) for module in model.modules()):
        raise UserError(f"{checkpoint} holds {name.without_mscsa} without MSCSA: give a model with it")
    if isinstance(model, Detector):  # it would normalise the image itself
        model = model.pyramid
    size = size or info.data.input_size
    return _saliency_model(name.with_mscsa, model, info.input, size, is_trained=True)


def _saliency_model(
    name: str, model: nn.Module, cfg: dict[str, Any], size: tuple[int, int], *, is_trained: bool
) -> SaliencyModel:
    config = resolve_data_config({}, pretrained_cfg=cfg)
    return SaliencyModel(
        name=name,
        model=model.eval(),
        size=size,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        is_trained=is_trained,
    )
