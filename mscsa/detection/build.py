"""Building a detector by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from mscsa.detection.cascade import CASCADE
from mscsa.detection.detector import Detector, NormMode
from mscsa.detection.rcnn import mask_rcnn
from mscsa.detection.retinanet import retinanet
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid, split_options
from mscsa.models.model import MSCSAModel
from mscsa.models.pyramid import BackbonePyramid

Pyramid = MSCSAModel | BackbonePyramid

_FROM_8 = (8, 16, 32)


def _load_deformable_detr() -> Callable[..., nn.Module]:
    try:
        from mscsa.detection.deformable_detr import DeformableDETR
    except ImportError as error:
        raise UserError(
            f"deformable_detr needs transformers and scipy, which cannot be imported ({error}); "
            "run: pip install mscsa[detection]"
        ) from error
    return DeformableDETR


@dataclass(frozen=True)
class Kind:
    """One of the detectors."""

    load: Callable[[], Callable[..., nn.Module]]
    """Gives what makes a network of torchvision's contract of a pyramid, number of classes and options."""
    strides: tuple[int, ...] | None
    """Levels of the pyramid that it takes; all of stride >= 4 if None."""
    first_label: int
    """The network's own number of the first class."""
    has_masks: bool
    """Whether it gives masks."""
    body: str = "backbone.body"
    """Where the pyramid is in the network."""
    of_classes: tuple[str, ...] = ()
    """Last part of the names of the layers that there is one of, or a channel of, for each class."""
    slow: tuple[str, ...] = ()
    """Parts of the head that learn at the backbone's rate, as in the public settings."""


DETECTORS: dict[str, Kind] = {
    "mask_rcnn": Kind(lambda: mask_rcnn, None, 1, True, of_classes=("box_predictor", "mask_fcn_logits")),
    "cascade_mask_rcnn": Kind(
        lambda: partial(mask_rcnn, cascade=CASCADE),
        None,
        1,
        True,
        of_classes=("cls_score", "mask_fcn_logits"),
    ),
    "retinanet": Kind(lambda: retinanet, _FROM_8, 0, False, of_classes=("cls_logits",)),
    "deformable_detr": Kind(
        _load_deformable_detr,
        _FROM_8,
        0,
        False,
        body="transformer.model.backbone.model.body",
        of_classes=("class_embed",),
        slow=("sampling_offsets", "reference_points"),
    ),
}
"""Name -> detector."""


def build_detector(
    name: str,
    backbone: str | Pyramid,
    num_classes: int,
    *,
    backbone_norm: NormMode = "frozen",
    mscsa_norm: NormMode = "live",
    **options: Any,
) -> Detector:
    """Build a model that finds objects.

    >>> model = build_detector("retinanet", "mscsa_resnet18", 20).eval()
    >>> sorted(model([torch.rand(3, 97, 131)])[0])
    ['boxes', 'labels', 'scores']

    Args:
        name: One of `DETECTORS`.
        backbone: A timm name, or `mscsa_` + one; or a pyramid of `build_pyramid`, which is taken over, with
            the levels that the detector takes.
        num_classes: K; labels are 1..K.
        backbone_norm: `frozen` keeps the batch statistics of the backbone's pre-training, `live` takes the
            batch's; from scratch it must be `live`.
        mscsa_norm: The same of MSCSA.
        **options: Those of `build_pyramid` (`pretrained`, `drop_path_rate`, `fields`, `budget`, ...) and of
            the detector (`mask_rcnn`, `retinanet`, `DeformableDETR`).
    Raises:
        UserError: If a name or an option is not known (names the nearest), a number is out of range, the
            backbone has no pyramid or not the levels, or transformers is not installed.
        ValueError: If an option of MSCSA is out of range.
    """
    if name not in DETECTORS:
        raise UserError(f"no detector is called {name!r}: give one of {', '.join(DETECTORS)}")
    if num_classes < 1:
        raise UserError(f"num_classes={num_classes} given: give 1 or more")
    kind = DETECTORS[name]
    build = kind.load()
    of_head, of_pyramid = split_options(name, build, options)
    _check_numbers(of_head)
    if isinstance(backbone, str):
        backbone = build_pyramid(backbone, strides=kind.strides, **of_pyramid)
    elif of_pyramid:
        raise UserError(f"{', '.join(of_pyramid)} given with a built backbone: build it with them")
    info: Any = backbone.feature_info
    strides = tuple(int(stride) for stride in info.reduction())
    if kind.strides is not None and strides != kind.strides:
        raise UserError(
            f"{name} takes maps of strides {list(kind.strides)}, the backbone gives {list(strides)}: build "
            f"it with build_pyramid(..., strides={kind.strides})"
        )
    return Detector(
        build(backbone, num_classes, **of_head),
        num_classes,
        body=kind.body,
        first_label=kind.first_label,
        has_masks=kind.has_masks,
        cfg=dict(backbone.pretrained_cfg),
        backbone_norm=backbone_norm,
        mscsa_norm=mscsa_norm,
        of_classes=kind.of_classes,
        slow=kind.slow,
    )


def _check_numbers(options: Mapping[str, Any]) -> None:
    """Refuse numbers out of range: counts from 1 on, the anchors' scale above 0, all others in 0..1."""
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            continue
        if name == "anchor_scale":
            is_right, allowed = value > 0, "a number above 0"
        elif name in ("dropout", "score_thresh"):
            is_right, allowed = 0 <= value < 1, "a number from 0 on, below 1"
        else:
            is_right, allowed = value >= 1 and value == int(value), "a whole number from 1 on"
        if not is_right:
            raise UserError(f"{name}={value} given: give {allowed}")
