"""ImageNet-1k classification: the rows of the paper's Table 6, trained as its App. C.1 says.

One row of `ROWS` makes two recipes, `imagenet/NAME` and `imagenet/mscsa_NAME`, which share everything
but the model. A further row of the paper is a further line of `ROWS`.

App. C.1 names no rate of stochastic depth. The rates here are those of the backbones' own recipes
(PVTv2 0.1, Swin-T 0.2, ConvNeXt-T 0.1); ResNet-50 takes DeiT's 0.1, whose pipeline it shares. The
paper says AutoAugment and cites DeiT, whose policy is the RandAugment string of `AugmentSpec`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mscsa.recipes.spec import AugmentSpec, DataSpec, ModelSpec, OptimSpec, Recipe, RunSpec

DEIT_OPTIM = OptimSpec(
    optimizer="adamw",
    lr=1e-3,
    weight_decay=0.05,
    schedule="cosine",
    warmup_epochs=5.0,
    warmup_lr=1e-6,
    min_lr=1e-5,
)
"""AdamW as in App. C.1 (PVTv2, ResNet); the two ends of the schedule are DeiT's."""

SWIN_OPTIM = replace(DEIT_OPTIM, warmup_epochs=20.0)
"""The same with the longer warm-up of App. C.1 (Swin, ConvNeXt)."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A pair of lines of Table 6: a backbone without and with MSCSA."""

    backbone: str
    """timm's name of the backbone; with MSCSA it is `mscsa_` + this name."""
    top1: tuple[float, float]
    """Top-1 on ImageNet-1k in %, without and with MSCSA."""
    gmacs: tuple[float, float]
    """GMACs at 224 px (the column "FLOPs (G)" of the paper), without and with MSCSA."""
    drop_path_rate: float
    """Stochastic depth of backbone and MSCSA."""
    retrained: bool = False
    """Whether the paper's authors trained the baseline themselves."""
    optim: OptimSpec = DEIT_OPTIM
    """Optimiser and schedule."""
    epochs: int = 300
    """Passes over the training set."""
    batch_size: int = 1024
    """Images per optimiser step."""


ROWS: tuple[Row, ...] = (
    Row(
        backbone="resnet50",
        top1=(78.3, 79.9),
        gmacs=(4.1, 4.6),
        drop_path_rate=0.1,
        retrained=True,
    ),
    Row(backbone="pvt_v2_b0", top1=(70.5, 74.6), gmacs=(0.57, 0.65), drop_path_rate=0.1),
    Row(backbone="pvt_v2_b1", top1=(78.7, 80.0), gmacs=(2.1, 2.3), drop_path_rate=0.1),
    Row(
        backbone="swin_tiny_patch4_window7_224",
        top1=(81.3, 81.5),
        gmacs=(4.4, 5.0),
        drop_path_rate=0.2,
        optim=SWIN_OPTIM,
    ),
    Row(
        backbone="convnext_tiny",
        top1=(82.1, 82.0),
        gmacs=(4.5, 5.1),
        drop_path_rate=0.1,
        optim=SWIN_OPTIM,
    ),
)
"""Table 6, for the backbones that timm provides; figures as printed."""


def _recipe(row: Row, *, with_mscsa: bool) -> Recipe:
    name = f"mscsa_{row.backbone}" if with_mscsa else row.backbone
    form = "+MSCSA" if with_mscsa else "baseline"
    origin = "re-trained by its authors" if row.retrained and not with_mscsa else "as printed"
    return Recipe(
        name=f"imagenet/{name}",
        paper=f"Table 6, {row.backbone}, {form}; settings of App. C.1",
        expected=(
            f"{row.top1[with_mscsa]} % top-1 on ImageNet-1k (paper, Table 6, {origin}); not measured here"
        ),
        cost=(
            f"{row.gmacs[with_mscsa]} GMACs per image at 224 px (paper, Table 6), "
            f"{row.epochs} epochs, batch {row.batch_size}; training time not measured here"
        ),
        model=ModelSpec(name=name, drop_path_rate=row.drop_path_rate),
        data=DataSpec(kind="folder", image_size=224, batch_size=row.batch_size, workers=8, num_classes=1000),
        augment=AugmentSpec(),
        optim=row.optim,
        run=RunSpec(epochs=row.epochs, precision="bf16-mixed"),
    )


IMAGENET: tuple[Recipe, ...] = tuple(
    _recipe(row, with_mscsa=with_mscsa) for row in ROWS for with_mscsa in (False, True)
)
