"""ADE20K semantic segmentation: the rows of the paper's Table 3, trained as its App. C.3 says.

One row of `ROWS` makes two recipes, `ade20k/NAME` and `ade20k/mscsa_NAME`, which share everything but the
model. Each starts from its own classifier of Table 6 (`model.checkpoint`).

App. C.3 names neither the rate of stochastic depth nor the scale, the limit on single classes, the head's
learning rate and the minimum rate: these are the public settings of TopFormer and of PVTv2's Semantic FPN.
Several processes share 16 or 32 images, too few each for statistics of their own: batch norms are
synchronised.
"""

from __future__ import annotations

from dataclasses import dataclass

from mscsa.recipes.spec import ModelSpec, OptimSpec, Recipe, RunSpec, SegmentationAugment, SegmentationData

TOPFORMER_STEPS = 160_000
FPN_STEPS = 40_000


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pair of lines of Table 3: a segmenter without and with MSCSA."""

    backbone: str
    """timm's name of the backbone; with MSCSA it is `mscsa_` + this name."""
    head: str
    """`topformer_head` or `semantic_fpn`."""
    miou: tuple[float, float]
    """Single-scale mIoU on ADE20K's validation set in %, without and with MSCSA."""
    gmacs: tuple[float, float]
    """GMACs at 512x512 px (the column "FLOPs (G)" of the paper), without and with MSCSA."""
    lr: float
    """Learning rate after the warm-up."""
    retrained: bool = False
    """Whether the paper's authors trained the baseline themselves."""


ROWS: tuple[Row, ...] = (
    Row(
        backbone="topformer_tiny",
        head="topformer_head",
        miou=(33.6, 34.1),
        gmacs=(0.55, 0.55),
        lr=3e-4,
        retrained=True,
    ),
    Row(
        backbone="topformer_base",
        head="topformer_head",
        miou=(38.3, 38.9),
        gmacs=(1.8, 1.8),
        lr=1.2e-4,
        retrained=True,
    ),
    Row(backbone="pvt_v2_b0", head="semantic_fpn", miou=(37.2, 40.1), gmacs=(25, 26), lr=2e-4),
    Row(backbone="pvt_v2_b1", head="semantic_fpn", miou=(42.5, 44.1), gmacs=(34, 36), lr=2e-4),
    Row(backbone="pvt_v2_b2", head="semantic_fpn", miou=(45.2, 46.3), gmacs=(46, 49), lr=2e-4),
)
"""Table 3, figures as printed."""


def _optim(row: Row) -> OptimSpec:
    if row.head == "topformer_head":
        return OptimSpec(
            lr=row.lr,
            weight_decay=0.01,
            schedule="poly",
            power=1.0,
            min_lr=0.0,
            warmup_steps=1500,
            warmup_lr=1e-6 * row.lr,
            head_lr_factor=10.0,
        )
    return OptimSpec(lr=row.lr, weight_decay=1e-4, schedule="poly", power=0.9, min_lr=0.0, warmup_steps=0)


def _recipe(row: Row, *, with_mscsa: bool) -> Recipe:
    name = f"mscsa_{row.backbone}" if with_mscsa else row.backbone
    is_topformer = row.head == "topformer_head"
    steps, batch_size = (TOPFORMER_STEPS, 16) if is_topformer else (FPN_STEPS, 32)
    form = "+MSCSA" if with_mscsa else "baseline"
    origin = "re-trained by its authors" if row.retrained and not with_mscsa else "as printed"
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
            batch_size=batch_size,
            eval_batch_size=1,
            num_classes=150,
        ),
        augment=SegmentationAugment(scale=(0.5, 2.0), max_class_share=0.75, photometric=True, hflip=0.5),
        optim=_optim(row),
        run=RunSpec(steps=steps, eval_every=12, sync_batchnorm=True),
    )


ADE20K: tuple[Recipe, ...] = tuple(
    _recipe(row, with_mscsa=with_mscsa) for row in ROWS for with_mscsa in (False, True)
)
