"""The two ends of a backbone, which models of it may have otherwise: its first layer and its classifier."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn

from mscsa.checkpoints.parts import BACKBONE, ModelParts, description_of_backbone

_COLOURS = 3
"""Channels of one side of an adaptation. Where neither has them, they may be those of image blocks that a
stem makes into channels, which timm would want to know."""


def other_channels(
    model: nn.Module, parts: ModelParts, places: Mapping[str, str], state: Mapping[str, Tensor]
) -> dict[str, tuple[int, int]]:
    """Find the convolutions that read the image, and that the file has for images of other channels.

    Args:
        model: What is to be filled.
        parts: Its parts.
        places: Key of the model -> key of the file.
        state: The file.
    Returns:
        Key of the model -> channels in the file and in the model.
    """
    found = {}
    for name in _names(model, parts, "first_conv"):
        key = f"{parts.prefixes[BACKBONE]}{name}.weight"
        if key not in places:
            continue
        given, own = state[places[key]], parts.own[key]
        channels = given.shape[1:2] + own.shape[1:2]
        is_else_equal = given.ndim == own.ndim == 4 and _without_channels(given) == _without_channels(own)
        is_usual = given.is_floating_point() and given.layout == torch.strided
        if is_else_equal and is_usual and channels[0] != channels[1] and _COLOURS in channels:
            found[key] = (channels[0], channels[1])
    return found


def adapted(weight: Tensor, channels: tuple[int, int]) -> Tensor:
    """Make a convolution (D, C, h, w) one for images of other channels, as timm does: repeated or summed."""
    made: Tensor = adapt_input_conv(channels[1], weight, base_chans=channels[0])
    return made


def is_of_other_form(
    model: nn.Module, parts: ModelParts, place: str | None, state: Mapping[str, Tensor]
) -> bool:
    """Whether of a file and a model one keeps the backbone's own classifier, and the other does not.

    A head beside a kept classifier is added to it, any other classifies alone: one is no start for the other.

    Args:
        model: What is to be filled.
        parts: Its parts.
        place: Prefix of the backbone in the file.
        state: The file.
    """
    names = _names(model, parts, "classifier")
    if place is None or not names:
        return False
    return _has(parts.own, parts.prefixes[BACKBONE], names) != _has(state, place, names)


def _has(keys: Iterable[str], prefix: str, names: list[str]) -> bool:
    starts = tuple(f"{prefix}{name}." for name in names)
    return any(key.startswith(starts) for key in keys)


def _names(model: nn.Module, parts: ModelParts, field: str) -> list[str]:
    """Give the names of layers that timm's description of the backbone has under a field."""
    named = description_of_backbone(model, parts)[1].get(field) or ()
    return [named] if isinstance(named, str) else list(named)


def _without_channels(weight: Tensor) -> tuple[int, ...]:
    return (*weight.shape[:1], *weight.shape[2:])
