"""Detection that a laptop finishes: rendered scenes at 128 px, and some hundred images in COCO's format.

Not the paper's: they show the whole path on a CPU, from scratch, so that batch norms are live. The detectors
are small (an FPN of 64 channels, a DETR of two layers each way), and anchors begin at the smallest objects.
MSCSA pools to stride 16, since the paper's 32 leaves a few tokens at such sizes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.spec import DetectionAugment, DetectionData, ModelSpec, OptimSpec, Recipe, RunSpec

SCENES: dict[str, dict[str, Any]] = {
    # Digits are 16 px and more: anchors of 16 to 256 px, at strides from 4 or 8 on.
    "mask_rcnn": {"fpn_channels": 64, "anchor_scale": 4.0, "proposals": 50, "boxes_per_img": 64},
    "cascade_mask_rcnn": {"fpn_channels": 64, "anchor_scale": 4.0, "proposals": 50, "boxes_per_img": 64},
    "retinanet": {"fpn_channels": 64, "anchor_scale": 2.0},
    "deformable_detr": {"num_queries": 50, "encoder_layers": 2, "decoder_layers": 2, "box_refine": True},
}
"""Detectors with a recipe on scenes, and their options."""

FOLDERS: dict[str, dict[str, Any]] = {
    # Objects from some 5 px on, such as nuclei: anchors of 12 to 192 px, and of 12 to 305 px.
    "mask_rcnn": {"fpn_channels": 64, "anchor_scale": 3.0, "proposals": 1000, "boxes_per_img": 128},
    "retinanet": {"fpn_channels": 64, "anchor_scale": 1.5},
}
"""Detectors with a recipe on a small folder in COCO's format, and their options."""

FOLDER_BACKBONES = ("resnet18", "pvt_v2_b0")
"""Their backbones."""


def _model(detector: str, model: str, options: dict[str, Any]) -> ModelSpec:
    name = parse_model_name(model)
    spec = ModelSpec(name=name.baseline, head=detector, head_kwargs={"backbone_norm": "live", **options})
    if not name.has_mscsa:
        return spec
    return replace(spec, mscsa={"pool_stride": 16}, budget=0.25)


def _scenes(detector: str, model: str) -> Recipe:
    return Recipe(
        name=f"scenes_{detector}/{model}",
        paper="not in the paper: handwritten digits of all sizes on textures, each with its box and mask",
        expected="not measured here",
        cost="128 px, 12 epochs of 1,000 scenes, batch 4",
        model=_model(detector, model, {**SCENES[detector], "detections_per_img": 50}),
        data=DetectionData(
            kind="scenes",
            short_side=128,
            long_side=128,
            batch_size=4,
            workers=0,
            num_train=1000,
            num_val=200,
            num_classes=10,
            max_digits=4,
        ),
        augment=DetectionAugment(hflip=0.0),
        optim=OptimSpec(lr=1e-3, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5, clip_grad=10.0),
        run=RunSpec(epochs=12, eval_every=2, checkpoint_every=200, log_every=10),
    )


def _folder(detector: str, model: str) -> Recipe:
    return Recipe(
        name=f"small_{detector}/{model}",
        paper="not in the paper: some hundred images in COCO's format, such as nuclei",
        expected="not measured here; from scratch on some hundred images, a smoke run",
        cost="images of 256 px, 12 epochs",
        model=_model(detector, model, {**FOLDERS[detector], "detections_per_img": 300}),
        data=DetectionData(kind="coco", short_side=256, long_side=512, batch_size=4, workers=2),
        augment=DetectionAugment(short_sides=(224, 256, 288)),
        optim=OptimSpec(lr=5e-4, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5, clip_grad=10.0),
        run=RunSpec(epochs=12, eval_every=3, checkpoint_every=200, log_every=10),
    )


SMALL_DETECTION: tuple[Recipe, ...] = (
    *(_scenes(detector, model) for detector in SCENES for model in both_arms("resnet10t")),
    *(
        _folder(detector, model)
        for detector in FOLDERS
        for backbone in FOLDER_BACKBONES
        for model in both_arms(backbone)
    ),
)
