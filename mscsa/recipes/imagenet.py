"""ImageNet-1k classification: the rows of the paper's Table 6, trained as its App. C.1 says.

One row of `ROWS` makes two recipes, `imagenet/NAME` and `imagenet/mscsa_NAME`, which share everything
but the model. A further row of the paper is a further line of `ROWS`.

App. C.1 names no rate of stochastic depth. The rates here are those of the backbones' own recipes
(TopFormer, PVTv2, P2T, Shunted, ConvNeXt-T 0.1, Swin-T and CoaT Small 0.2, CoaT Tiny 0); ResNet-50
takes DeiT's 0.1, whose pipeline it shares. TopFormer's dropout of 0.2 is its authors'. The
paper says AutoAugment and cites DeiT, whose policy is the RandAugment string of `ClassificationAugment`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
)

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
"""The same with the longer warm-up of App. C.1 (Swin, ConvNeXt, P2T)."""

COAT_TINY_OPTIM = replace(DEIT_OPTIM, lr=2e-3, ema_decay=0.99996)
"""CoaT Tiny in App. C.1; the decay of the moving average is CoaT's own."""

COAT_SMALL_OPTIM = replace(SWIN_OPTIM, clip_grad=5.0)
"""CoaT Small in App. C.1; the clipping is CoaT's own."""

TOPFORMER_OPTIM = OptimSpec(
    optimizer="rmsproptf",
    lr=0.064,
    weight_decay=1e-5,
    eps=1e-3,
    schedule="step",
    warmup_epochs=3.0,
    warmup_lr=1e-6,
    decay_epochs=2.4,
    decay_rate=0.973,
    ema_decay=0.9999,
)
"""TopFormer in App. C.1, which names no eps, decay rate or EMA decay: those are timm's MobileNetV3's."""

TOPFORMER_AUGMENT = ClassificationAugment(auto_augment="rand-m9-mstd0.5", random_erasing=0.2)
"""App. C.1: as DeiT's "with some minor differences in numerical values"; these two are MobileNetV3's."""


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
    drop_rate: float = 0.0
    """Dropout before the classifier."""
    optim: OptimSpec = DEIT_OPTIM
    """Optimiser and schedule."""
    augment: ClassificationAugment = ClassificationAugment()
    """Augmentation."""
    epochs: int = 300
    """Passes over the training set."""
    batch_size: int = 1024
    """Images per optimiser step."""


ROWS: tuple[Row, ...] = (
    Row(
        backbone="topformer_tiny",
        top1=(65.1, 67.1),
        gmacs=(0.13, 0.13),
        drop_path_rate=0.1,
        drop_rate=0.2,
        retrained=True,
        optim=TOPFORMER_OPTIM,
        augment=TOPFORMER_AUGMENT,
        epochs=600,
    ),
    Row(
        backbone="topformer_base",
        top1=(75.0, 75.5),
        gmacs=(0.38, 0.38),
        drop_path_rate=0.1,
        drop_rate=0.2,
        retrained=True,
        optim=TOPFORMER_OPTIM,
        augment=TOPFORMER_AUGMENT,
        epochs=600,
    ),
    Row(
        backbone="coat_tiny",
        top1=(78.3, 81.1),
        gmacs=(4.4, 4.4),
        drop_path_rate=0.0,
        optim=COAT_TINY_OPTIM,
        batch_size=2048,
    ),
    Row(
        backbone="coat_small",
        top1=(82.1, 83.0),
        gmacs=(13, 13),
        drop_path_rate=0.2,
        optim=COAT_SMALL_OPTIM,
    ),
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
        backbone="p2t_tiny",
        top1=(79.8, 80.9),
        gmacs=(1.8, 2.0),
        drop_path_rate=0.1,
        optim=SWIN_OPTIM,
    ),
    Row(backbone="shunted_tiny", top1=(79.8, 81.0), gmacs=(2.1, 2.3), drop_path_rate=0.1),
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
"""Table 6, figures as printed."""


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
        model=ModelSpec(name=name, drop_path_rate=row.drop_path_rate, drop_rate=row.drop_rate),
        data=ClassificationData(
            kind="folder", image_size=224, batch_size=row.batch_size, workers=8, num_classes=1000
        ),
        augment=row.augment,
        optim=row.optim,
        run=RunSpec(epochs=row.epochs, precision="bf16-mixed"),
    )


def _pvt_v2_b2(*, with_mscsa: bool) -> Recipe:
    """Train PVTv2-B2, where Tables 2 and 3 start from, as PVTv2-B1; it has no row in Table 6."""
    sibling = _recipe(next(row for row in ROWS if row.backbone == "pvt_v2_b1"), with_mscsa=with_mscsa)
    name = "mscsa_pvt_v2_b2" if with_mscsa else "pvt_v2_b2"
    return replace(
        sibling,
        name=f"imagenet/{name}",
        paper="not in Table 6; settings of App. C.1; the start of PVTv2-B2 in Tables 2 and 3",
        expected="not printed in the paper; not measured here",
        cost=f"300 epochs, batch {sibling.data.batch_size}, 224 px",
        model=replace(sibling.model, name=name),
    )


IMAGENET: tuple[Recipe, ...] = (
    *(_recipe(row, with_mscsa=with_mscsa) for row in ROWS for with_mscsa in (False, True)),
    *(_pvt_v2_b2(with_mscsa=with_mscsa) for with_mscsa in (False, True)),
)
