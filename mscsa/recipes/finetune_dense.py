"""Fine-tune a pretrained timm backbone for segmentation or detection, plain or with MSCSA.

`finetune_segmentation/` puts a Semantic FPN on it, `finetune_detection/` a RetinaNet, which needs boxes
alone, and `finetune_instances/` a Mask R-CNN. In all, the backbone learns at a tenth of the head's rate, its
batch norms keep the statistics of their pre-training, stem and first stage stay fixed where `FROZEN` names
them, and a moving average of the weights is evaluated beside the weights. Any other timm backbone with a
pyramid is taken as well.

The settings are common practice for some hundred to some thousand images, not the paper's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.finetune import FROZEN, said_of_start, started_from
from mscsa.recipes.spec import (
    DetectionAugment,
    DetectionData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
    SegmentationAugment,
    SegmentationData,
)

_PLACES = {"semantic_fpn": "backbone.backbone", "retinanet": "net.backbone.body.backbone"}
_PLACES["mask_rcnn"] = _PLACES["retinanet"]
"""Where the parameters of the backbone are under each head."""

_PAPER = "not in the paper: transfer of a pretrained timm backbone"
_EXPECTED = "depends on the data; not measured here"


def _model(model: str, head: str) -> ModelSpec:
    name = parse_model_name(model)
    frozen = FROZEN.get(name.baseline, ())
    return ModelSpec(
        name=name.without_mscsa,
        head=head,
        head_kwargs={"backbone_norm": "frozen"},
        budget=0.10 if name.has_mscsa else None,
        pretrained=True,
        # Not every timm model has stochastic depth; these have.
        drop_path_rate=0.1 if frozen else None,
        freeze=tuple(f"{_PLACES[head]}.{part}" for part in frozen),
    )


def _cost(model: str, rest: str) -> str:
    more = ", + at most 10 %" if parse_model_name(model).has_mscsa else ""
    return f"MACs of backbone and head{more}; {rest}{said_of_start(model)}"


def finetune_segmentation_recipe(model: str) -> Recipe:
    """Build the recipe that fine-tunes a backbone under a Semantic FPN.

    Args:
        model: A timm name, or `mscsa_` + a timm name for MSCSA at up to +10 % MACs.
    """
    return Recipe(
        name=f"finetune_segmentation/{model}",
        paper=_PAPER,
        expected=_EXPECTED,
        cost=_cost(model, "images of 512 px, 40 epochs"),
        starts_from=started_from(model),
        model=_model(model, "semantic_fpn"),
        data=SegmentationData(
            kind="masks",
            image_size=512,
            short_side=512,
            long_side=2048,
            batch_size=8,
            eval_batch_size=1,
            workers=4,
        ),
        augment=SegmentationAugment(scale=(0.5, 2.0), max_class_share=0.75),
        optim=OptimSpec(
            lr=6e-5,
            head_lr_factor=10.0,
            weight_decay=0.01,
            schedule="poly",
            power=1.0,
            min_lr=0.0,
            warmup_epochs=2.0,
            ema_decay=0.998,
        ),
        run=RunSpec(epochs=40, eval_every=2),
    )


def finetune_detection_recipe(model: str) -> Recipe:
    """Build the recipe that fine-tunes a backbone under a RetinaNet; arguments as for segmentation."""
    return _objects("detection", "retinanet", {}, model)


def finetune_instances_recipe(model: str) -> Recipe:
    """Build the recipe that fine-tunes a backbone under a Mask R-CNN; arguments as for segmentation."""
    return _objects("instances", "mask_rcnn", {"keep_empty": False}, model)


def _objects(family: str, head: str, data: dict[str, Any], model: str) -> Recipe:
    return Recipe(
        name=f"finetune_{family}/{model}",
        paper=_PAPER,
        expected=_EXPECTED,
        cost=_cost(model, "images of 640 px, 24 epochs"),
        starts_from=started_from(model),
        model=_model(model, head),
        data=DetectionData(
            kind="coco", short_side=640, long_side=1066, batch_size=8, eval_batch_size=1, workers=4, **data
        ),
        augment=DetectionAugment(short_sides=(512, 576, 640, 704)),
        optim=OptimSpec(
            lr=2e-5,
            head_lr_factor=10.0,
            weight_decay=0.05,
            warmup_epochs=1.0,
            min_lr=1e-6,
            clip_grad=10.0,
            ema_decay=0.998,
        ),
        run=RunSpec(epochs=24, eval_every=2),
    )


DENSE_BUILDERS: dict[str, Callable[[str], Recipe]] = {
    "finetune_segmentation/": finetune_segmentation_recipe,
    "finetune_detection/": finetune_detection_recipe,
    "finetune_instances/": finetune_instances_recipe,
}
"""Before a model's name -> the recipe that fine-tunes it."""

FINETUNE_DENSE: tuple[Recipe, ...] = tuple(
    build(model) for build in DENSE_BUILDERS.values() for backbone in FROZEN for model in both_arms(backbone)
)
