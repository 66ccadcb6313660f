"""Segmentation that a laptop finishes: rendered scenes at 64 px, and small street scenes such as CamVid.

Not the paper's: they show the whole path on a CPU. At such sizes the paper's pooling stride of 32 leaves
a few tokens, so MSCSA pools to stride 8 or 16 instead; the FPN has 64 channels, which is where a small
segmenter's cost lies.
"""

from __future__ import annotations

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.spec import ModelSpec, OptimSpec, Recipe, RunSpec, SegmentationAugment, SegmentationData

SCENES = (
    ("semantic_fpn", "resnet10t"),
    ("semantic_fpn", "pvt_v2_b0"),
    ("topformer_head", "topformer_tiny"),
)
"""Heads and backbones with a recipe on scenes."""

FOLDERS = ("resnet18", "pvt_v2_b0")
"""Backbones with a Semantic FPN on a small folder of images and label maps."""


def _model(head: str, model: str, pool_stride: int) -> ModelSpec:
    name = parse_model_name(model)
    options = {"fpn_channels": 64, "head_channels": 64} if head == "semantic_fpn" else {}
    if not name.has_mscsa:
        return ModelSpec(name=model, head=head, head_kwargs=options)
    fields = {"pool_stride": pool_stride}
    if head == "topformer_head":  # the paper's configuration, in place of TopFormer's extractor
        return ModelSpec(name=model, head=head, mscsa=fields)
    return ModelSpec(name=name.baseline, head=head, head_kwargs=options, mscsa=fields, budget=0.25)


def _scenes(head: str, model: str) -> Recipe:
    return Recipe(
        name=f"scenes_{head}/{model}",
        paper="not in the paper: handwritten digits of all sizes on textures, a class for each pixel",
        expected="not measured here",
        cost="64 px, 12 epochs of 2,000 scenes",
        model=_model(head, model, pool_stride=8),
        data=SegmentationData(
            kind="scenes",
            image_size=64,
            short_side=64,
            long_side=64,
            batch_size=16,
            eval_batch_size=16,
            workers=0,
            num_train=2000,
            num_val=300,
            num_classes=11,
            max_digits=4,
        ),
        augment=SegmentationAugment(scale=(1.0, 1.0), max_class_share=1.0, photometric=False, hflip=0.0),
        optim=OptimSpec(lr=2e-3, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5),
        run=RunSpec(epochs=12, eval_every=2, checkpoint_every=200, log_every=10),
    )


def _folder(model: str) -> Recipe:
    return Recipe(
        name=f"small_semantic_fpn/{model}",
        paper="not in the paper: some hundred images with label maps, such as CamVid",
        expected="not measured here at this length; from scratch on some hundred images, a smoke run",
        cost="images of 240 px, crops of 192 px, 24 epochs",
        model=_model("semantic_fpn", model, pool_stride=16),
        data=SegmentationData(
            kind="masks",
            image_size=192,
            short_side=240,
            long_side=640,
            batch_size=8,
            eval_batch_size=4,
            workers=1,
        ),
        augment=SegmentationAugment(scale=(0.75, 1.5), max_class_share=0.9),
        optim=OptimSpec(
            lr=1e-3, weight_decay=0.05, schedule="poly", power=0.9, min_lr=0.0, warmup_epochs=1.0
        ),
        run=RunSpec(epochs=24, eval_every=4, checkpoint_every=200, log_every=10),
    )


SMALL_SEGMENTATION: tuple[Recipe, ...] = (
    *(_scenes(head, model) for head, backbone in SCENES for model in both_arms(backbone)),
    *(_folder(model) for backbone in FOLDERS for model in both_arms(backbone)),
)
