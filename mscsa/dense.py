"""What all dense tasks share: a head, looked up by its name, on a pyramid that is built for it or given."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any, Literal

from timm.models import group_parameters

from mscsa.errors import UserError, unknown_name
from mscsa.heads import COUNT, Head, Task, check_values, find_head
from mscsa.models.build import build_pyramid
from mscsa.models.model import MSCSAModel
from mscsa.models.neck import NeckPyramid
from mscsa.models.pyramid import BackbonePyramid, layer_groups

Pyramid = MSCSAModel | NeckPyramid | BackbonePyramid
"""What a head stands on: images (B, 3, H, W) to a list of maps, with MSCSA, another neck, or none."""

NormMode = Literal["frozen", "live"]
"""Batch norms with the statistics they were given, or with those of the batch."""


@dataclass(frozen=True, kw_only=True)
class BuiltHead:
    """A head on its pyramid."""

    head: Head
    """Its row in the table."""
    pyramid: Pyramid
    parts: Any
    """What the head's builder made of the pyramid."""


def build_head(
    name: str,
    backbone: str | Pyramid,
    num_classes: int,
    options: Mapping[str, Any],
    *,
    tasks: Sequence[Task],
    also: Sequence[str] = (),
) -> BuiltHead:
    """Build a head, and its pyramid unless one is given.

    Args:
        name: One of `mscsa.heads.HEADS`.
        backbone: A timm name, or `mscsa_` + one; or a pyramid of `build_pyramid`, which is taken over.
        num_classes: K.
        options: Those of the head and of `build_pyramid`; one that both have goes to both.
        tasks: What the head may be for.
        also: Options that the caller takes itself, for the message about a misspelt one.
    Raises:
        UserError: If a name is not known (names the nearest), a value is out of range, or the backbone has no
            pyramid or not the levels that the head takes.
        ValueError: If an option of MSCSA is out of range.
    """
    head = find_head(name, *tasks)
    if not COUNT.has(num_classes):
        raise UserError(f"num_classes={num_classes!r} given: give {COUNT.says}")
    known = (*head.options, *_pyramid_options())
    for option in options:
        if option not in known:
            raise unknown_name(f"{name} has no option", option, (*known, *also))
    check_values(head, options)
    # numpy's whole numbers are counts too, but transformers and JSON do not take them.
    of_head = {
        key: int(value) if isinstance(value, Integral) and not isinstance(value, bool) else value
        for key, value in options.items()
        if key in head.options
    }
    build = head.load()
    if isinstance(backbone, str):
        of_pyramid = {key: value for key, value in options.items() if key in _pyramid_options()}
        pyramid: Pyramid = build_pyramid(backbone, strides=head.strides, fuse=head.has_fusion, **of_pyramid)
    else:
        lost = [key for key in options if key not in head.options]
        if lost:
            raise UserError(f"{', '.join(lost)} given with a built backbone: build it with them")
        pyramid = _check_pyramid(name, head, backbone)
    return BuiltHead(head=head, pyramid=pyramid, parts=build(pyramid, num_classes, **of_head))


def check_norm_mode(name: str, mode: str) -> None:
    """Refuse what is no `NormMode`.

    Raises:
        UserError: Names the option.
    """
    if mode not in ("frozen", "live"):
        raise UserError(f"{name} {mode!r} given: choose frozen or live")


def layers_of_backbone(backbone: Any, prefix: str, coarse: bool) -> Callable[[str], float]:
    """Number the layers of a model for timm's layer decay: the backbone's own; then all else as one.

    Args:
        backbone: The timm model.
        prefix: Of the names of its parameters in the whole model.
        coarse: Number stages in place of blocks.
    Raises:
        UserError: If timm names no layer groups for the backbone.
    """
    layers = group_parameters(backbone, layer_groups(backbone, coarse), reverse=True)
    return lambda name: layers[name.removeprefix(prefix)] if name.startswith(prefix) else math.inf


def levels_of(pyramid: Pyramid) -> tuple[list[int], list[int]]:
    """Give the channels and the strides of a pyramid's maps, in their order."""
    info: Any = pyramid.feature_info
    return list(info.channels()), [int(stride) for stride in info.reduction()]


def coarsest_stride(pyramid: Pyramid) -> int:
    """Give the stride of the coarsest map that is read: images are padded to a multiple of it.

    A neck reads all levels of the backbone, whichever it gives.
    """
    if isinstance(pyramid, BackbonePyramid):
        return max(levels_of(pyramid)[1])
    return max(level.stride for level in pyramid.levels)


def refuse_one_value(error: ValueError, given: str, also: str = "") -> None:
    """Say what torch's complaint of a batch norm about its batch means for images; other errors pass.

    Args:
        error: What a network raised in training.
        given: The images.
        also: What else helps, beside larger images or more of them.
    Raises:
        UserError: If it is that complaint.
    """
    if "more than 1 value per channel" in str(error):
        advice = ", ".join(filter(None, ("give larger images or more per batch", also)))
        raise UserError(f"{given} gives a map of 1x1, which batch norm cannot train on: {advice}") from error


def _pyramid_options() -> list[str]:
    """Name what `build_pyramid` takes, but for what the head settles."""
    return [
        parameter.name
        for parameter in inspect.signature(build_pyramid).parameters.values()
        if parameter.kind is parameter.KEYWORD_ONLY and parameter.name not in ("strides", "fuse")
    ]


def _check_pyramid(name: str, head: Head, backbone: Pyramid) -> Pyramid:
    """Refuse a built backbone that is no pyramid, or gives other levels than the head takes."""
    is_classifier = isinstance(backbone, MSCSAModel) and not backbone.is_pyramid
    if is_classifier or not isinstance(backbone, Pyramid):
        given = f"{type(backbone).__name__} of classifier form" if is_classifier else type(backbone).__name__
        raise UserError(
            f"{name} on a {given}: give the name of a backbone, or a pyramid of mscsa.models.build_pyramid"
        )
    if head.has_fusion and isinstance(backbone, MSCSAModel) and not len(backbone.fusion):
        raise UserError(
            f"{name} reads the maps that MSCSA is fused into, the backbone was built with fuse=False: build "
            "it with build_pyramid(..., fuse=True)"
        )
    strides = levels_of(backbone)[1]
    if head.strides is not None and tuple(strides) != head.strides:
        raise UserError(
            f"{name} takes maps of strides {list(head.strides)}, the backbone gives {strides}: build "
            f"it with build_pyramid(..., strides={head.strides})"
        )
    return backbone
