"""ADE20K semantic segmentation: the rows of the paper's Table 3, trained as its App. C.3 says.

One pair of rows makes two recipes, `ade20k/NAME` and `ade20k/mscsa_NAME`, which share everything but the
model. Each starts from its own classifier of Table 6 (`model.checkpoint`).

App. C.3 names neither the rate of stochastic depth nor the scale, the limit on single classes, the head's
learning rate and the minimum rate: these are the public settings of TopFormer and of PVTv2's Semantic FPN.
Several processes share 16 or 32 images, too few each for statistics of their own: batch norms are
synchronised. Evaluation stretches images to multiples of 32 px, as both public settings do.

Known to differ from the public settings: the loss is the mean over the pixels that have a class, there over
all pixels (MMSegmentation's `avg_non_ignore=False`); norms and biases are spared from weight decay, where PVT
spares nothing and TopFormer what has "norm" in its name, which its batch norms ("bn") have not.
"""

from __future__ import annotations

from mscsa.paper import TABLE_3, SegmenterRow
from mscsa.recipes.spec import ModelSpec, OptimSpec, Recipe, RunSpec, SegmentationAugment, SegmentationData

TOPFORMER_STEPS = 160_000
FPN_STEPS = 40_000


LEARNING_RATES = {"topformer_tiny": 3e-4, "topformer_base": 1.2e-4}
"""timm's name of the backbone -> rate after the warm-up; 2e-4 for the others."""


def _optim(row: SegmenterRow) -> OptimSpec:
    lr = LEARNING_RATES.get(row.backbone, 2e-4)
    if row.head == "topformer_head":
        return OptimSpec(
            lr=lr,
            weight_decay=0.01,
            schedule="poly",
            power=1.0,
            min_lr=0.0,
            warmup_steps=1500,
            warmup_lr=1e-6 * lr,
            head_lr_factor=10.0,
        )
    return OptimSpec(lr=lr, weight_decay=1e-4, schedule="poly", power=0.9, min_lr=0.0, warmup_steps=0)


def _recipe(row: SegmenterRow, *, with_mscsa: bool) -> Recipe:
    name = row.model_name(with_mscsa=with_mscsa)
    is_topformer = row.head == "topformer_head"
    steps, batch_size = (TOPFORMER_STEPS, 16) if is_topformer else (FPN_STEPS, 32)
    form = "+MSCSA" if with_mscsa else "baseline"
    origin = "re-trained by its authors" if row.origin == "re-trained" and not with_mscsa else "as printed"
    return Recipe(
        name=f"ade20k/{name}",
        paper=f"Table 3, {row.head} on {row.backbone}, {form}; settings of App. C.3",
        expected=(f"{row.miou[with_mscsa]} % mIoU on ADE20K (paper, Table 3, {origin}); not measured here"),
        cost=f"{row.gmacs[with_mscsa]:g} GMACs (paper) at 512 px, {steps} steps, batch {batch_size}",
        starts_from=f"imagenet/{name}",
        model=ModelSpec(name=name, head=row.head, drop_path_rate=0.1),
        data=SegmentationData(
            kind="ade20k",
            image_size=512,
            short_side=512,
            long_side=2048,
            size_multiple=32,
            batch_size=batch_size,
            eval_batch_size=1,
            num_classes=150,
        ),
        augment=SegmentationAugment(scale=(0.5, 2.0), max_class_share=0.75, photometric=True, hflip=0.5),
        optim=_optim(row),
        run=RunSpec(steps=steps, eval_every=12, sync_batchnorm=True),
    )


ADE20K: tuple[Recipe, ...] = tuple(
    _recipe(row, with_mscsa=with_mscsa) for row in TABLE_3 for with_mscsa in (False, True)
)
