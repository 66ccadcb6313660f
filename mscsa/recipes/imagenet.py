"""ImageNet-1k classification: the rows of the paper's Table 6, trained as its App. C.1 says.

One pair of rows makes two recipes, `imagenet/NAME` and `imagenet/mscsa_NAME`, which share everything but
the model. `mscsa.paper` has their figures, `SETTINGS` what the training of each backbone needs.

App. C.1 names no rate of stochastic depth. The rates here are those of the backbones' own recipes
(TopFormer, PVTv2, P2T, Shunted, ConvNeXt-T 0.1, Swin-T and CoaT Small 0.2, CoaT Tiny 0); ResNet-50
takes DeiT's 0.1, whose pipeline it shares. TopFormer's dropout of 0.2 is its authors'. The
paper says AutoAugment and cites DeiT, whose policy is the RandAugment string of `ClassificationAugment`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from mscsa.names import parse_model_name
from mscsa.paper import TABLE_6, ClassifierRow
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
class Settings:
    """How a backbone of Table 6 is trained, without and with MSCSA."""

    drop_path_rate: float
    """Stochastic depth of backbone and MSCSA."""
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


_TOPFORMER = Settings(
    drop_path_rate=0.1, drop_rate=0.2, optim=TOPFORMER_OPTIM, augment=TOPFORMER_AUGMENT, epochs=600
)

SETTINGS: dict[str, Settings] = {
    "topformer_tiny": _TOPFORMER,
    "topformer_base": _TOPFORMER,
    "coat_tiny": Settings(drop_path_rate=0.0, optim=COAT_TINY_OPTIM, batch_size=2048),
    "coat_small": Settings(drop_path_rate=0.2, optim=COAT_SMALL_OPTIM),
    "resnet50": Settings(drop_path_rate=0.1),
    "pvt_v2_b0": Settings(drop_path_rate=0.1),
    "pvt_v2_b1": Settings(drop_path_rate=0.1),
    "p2t_tiny": Settings(drop_path_rate=0.1, optim=SWIN_OPTIM),
    "shunted_tiny": Settings(drop_path_rate=0.1),
    "swin_tiny_patch4_window7_224": Settings(drop_path_rate=0.2, optim=SWIN_OPTIM),
    "convnext_tiny": Settings(drop_path_rate=0.1, optim=SWIN_OPTIM),
}
"""timm's name of the backbone -> its settings."""


def _recipe(row: ClassifierRow, *, with_mscsa: bool) -> Recipe:
    name = row.model_name(with_mscsa=with_mscsa)
    settings = SETTINGS[row.backbone]
    form = "+MSCSA" if with_mscsa else "baseline"
    origin = "re-trained by its authors" if row.origin == "re-trained" and not with_mscsa else "as printed"
    return Recipe(
        name=f"imagenet/{name}",
        paper=f"Table 6, {row.backbone}, {form}; settings of App. C.1",
        expected=(
            f"{row.top1[with_mscsa]} % top-1 on ImageNet-1k (paper, Table 6, {origin}); not measured here"
        ),
        cost=(
            f"{row.gmacs[with_mscsa]} GMACs per image at 224 px (paper, Table 6), "
            f"{settings.epochs} epochs, batch {settings.batch_size}; training time not measured here"
        ),
        model=ModelSpec(name=name, drop_path_rate=settings.drop_path_rate, drop_rate=settings.drop_rate),
        data=ClassificationData(
            kind="folder", image_size=224, batch_size=settings.batch_size, workers=8, num_classes=1000
        ),
        augment=settings.augment,
        optim=settings.optim,
        run=RunSpec(epochs=settings.epochs, precision="bf16-mixed"),
    )


def _pvt_v2_b2(*, with_mscsa: bool) -> Recipe:
    """Train PVTv2-B2, where Tables 2 and 3 start from, as PVTv2-B1; it has no row in Table 6."""
    sibling = _recipe(next(row for row in TABLE_6 if row.backbone == "pvt_v2_b1"), with_mscsa=with_mscsa)
    own = parse_model_name("pvt_v2_b2")
    name = own.with_mscsa if with_mscsa else own.without_mscsa
    return replace(
        sibling,
        name=f"imagenet/{name}",
        paper="not in Table 6; settings of App. C.1; the start of PVTv2-B2 in Tables 2 and 3",
        expected="not printed in the paper; not measured here",
        cost=f"300 epochs, batch {sibling.data.batch_size}, 224 px",
        model=replace(sibling.model, name=name),
    )


IMAGENET: tuple[Recipe, ...] = (
    *(_recipe(row, with_mscsa=with_mscsa) for row in TABLE_6 for with_mscsa in (False, True)),
    *(_pvt_v2_b2(with_mscsa=with_mscsa) for with_mscsa in (False, True)),
)
