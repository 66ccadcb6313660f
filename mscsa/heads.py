"""All heads that stand on a backbone's pyramid: what each is for, which levels and which options it takes.

Torch-free and at the bottom of the import order: recipes and the command line read it as the builders do.
To add a head, write its file and add its row.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any, Literal

from mscsa.errors import UserError, needs_extra, unknown_name

Task = Literal["classification", "segmentation", "detection", "instance_segmentation"]
"""What a model is for; instance segmentation is detection with a mask of each object."""


@dataclass(frozen=True)
class Allowed:
    """The values that an option takes."""

    says: str
    """In words, after "give"."""
    has: Callable[[Any], bool]
    """Whether a value is one of them."""

    def or_none(self) -> Allowed:
        """Allow None too, which leaves the choice to the head."""
        return Allowed(f"{self.says}, or null", lambda value: value is None or self.has(value))


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _one_of(*names: str) -> Allowed:
    return Allowed(f"one of {', '.join(names)}", lambda value: value in names)


COUNT = Allowed(
    "a whole number from 1 on",
    lambda value: isinstance(value, Integral) and not isinstance(value, bool) and int(value) >= 1,
)
SHARE = Allowed("a number from 0 on, below 1", lambda value: _is_number(value) and 0 <= value < 1)
POSITIVE = Allowed("a number above 0", lambda value: _is_number(value) and 0 < value < float("inf"))
FLAG = Allowed("true or false", lambda value: isinstance(value, bool))

NORM_GROUPS = 32
"""Groups of the norm that options call `gn`."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """What stands on a pyramid for one task."""

    task: Task
    """What it is for."""
    builder: str
    """MODULE:FUNCTION that builds it from a pyramid, a number of classes and its options."""
    options: Mapping[str, Allowed]
    """Its options, which are the function's keyword-only arguments, and the values they take."""
    strides: tuple[int, ...] | None = None
    """Levels that it takes, by stride; None for all that a pyramid has from stride 4 on."""
    has_fusion: bool = True
    """Whether it reads the maps that MSCSA fuses; False where it makes its own of MSCSA's tokens."""
    wider: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Options that together make it wider and dearer; beside each the options that may put a group norm on
    so many channels, which must then be a multiple of `NORM_GROUPS`. Where one may be None, the built
    head says what it chose (`chosen_widths`)."""
    extra: str | None = None
    """Extra of this package that installs what the builder's module imports."""

    @property
    def has_masks(self) -> bool:
        """Whether it gives, and is trained on, a mask of each object."""
        return self.task == "instance_segmentation"

    def load(self) -> Callable[..., Any]:
        """Import the builder.

        Raises:
            UserError: If a package that it stands on is not installed.
        """
        module, _, function = self.builder.partition(":")
        try:
            return getattr(importlib.import_module(module), function)
        except ImportError as error:
            if self.extra is None:
                raise
            what = f"{function} needs a package that cannot be imported ({error})"
            raise needs_extra(what, self.extra) from error


_DETECTOR = {
    "fpn_channels": COUNT,
    "fpn_norm": _one_of("none", "bn", "gn"),
    "head_norm": _one_of("none", "bn", "gn"),
    "level_norm": FLAG,
    "anchor_scale": POSITIVE,
    "detections_per_img": COUNT,
    "score_thresh": SHARE,
}
_WIDER_FPN = {"fpn_channels": ("fpn_norm", "head_norm")}
_TWO_STAGE = {**_DETECTOR, "proposals": COUNT, "boxes_per_img": COUNT, "rpn_convs": COUNT}

HEADS: dict[str, Head] = {
    "semantic_fpn": Head(
        task="segmentation",
        builder="mscsa.segmentation.semantic_fpn:semantic_fpn",
        options={
            "fpn_channels": COUNT,
            "head_channels": COUNT,
            "norm": _one_of("bn", "gn"),
            "dropout": SHARE,
        },
        wider={"fpn_channels": (), "head_channels": ("norm",)},
    ),
    "topformer_head": Head(
        task="segmentation",
        builder="mscsa.segmentation.topformer_head:topformer_head",
        options={
            "injected_channels": COUNT.or_none(),
            "depthwise": FLAG.or_none(),
            "dropout": SHARE,
            "drop_path_rate": SHARE.or_none(),
        },
        has_fusion=False,
        wider={"injected_channels": ()},
    ),
    "mask_rcnn": Head(
        task="instance_segmentation",
        builder="mscsa.detection.rcnn:mask_rcnn",
        options=_TWO_STAGE,
        wider=_WIDER_FPN,
    ),
    "cascade_mask_rcnn": Head(
        task="instance_segmentation",
        builder="mscsa.detection.rcnn:cascade_mask_rcnn",
        options=_TWO_STAGE,
        wider=_WIDER_FPN,
    ),
    "retinanet": Head(
        task="detection",
        builder="mscsa.detection.retinanet:retinanet",
        options={**_DETECTOR, "p6_from": _one_of("c5", "p5"), "p7_relu": FLAG},
        strides=(8, 16, 32),
        wider=_WIDER_FPN,
    ),
    "deformable_detr": Head(
        task="detection",
        builder="mscsa.detection.deformable_detr:deformable_detr",
        options={
            "num_queries": COUNT,
            "encoder_layers": COUNT,
            "decoder_layers": COUNT,
            "box_refine": FLAG,
            "two_stage": FLAG,
            "dropout": SHARE,
            "detections_per_img": COUNT,
        },
        strides=(8, 16, 32),
        extra="detection",
    ),
}
"""Name -> head, in the order in which they are listed."""


def find_head(name: str, *tasks: Task) -> Head:
    """Look a head up.

    Args:
        name: One of `HEADS`.
        tasks: What it may be for; anything if there are none.
    Raises:
        UserError: If there is none of this name for these tasks; names the nearest.
    """
    known = [each for each, head in HEADS.items() if not tasks or head.task in tasks]
    if name not in known:
        kind = " or ".join(tasks).replace("_", " ")
        raise unknown_name(f"no head{f' for {kind}' if kind else ''} is called", name, known)
    return HEADS[name]


def check_values(head: Head, options: Mapping[str, Any]) -> None:
    """Refuse values that a head's options do not take.

    Args:
        options: By name; names that are not the head's are left to others.
    Raises:
        UserError: Names the first such value and what is allowed.
    """
    for name, value in options.items():
        if name in head.options and not head.options[name].has(value):
            raise UserError(f"{name}={value!r} given: give {head.options[name].says}")
