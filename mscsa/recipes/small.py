"""Recipes that a laptop finishes: rendered scenes at 64 px and small photographs at 128 px.

Not the paper's: they show the whole path on a CPU. At such sizes the paper's pooling stride of 32
leaves a map of 2x2 or 4x4 tokens, so MSCSA pools to 8x8 instead.
"""

from __future__ import annotations

from mscsa.recipes.spec import AugmentSpec, DataSpec, ModelSpec, OptimSpec, Recipe, RunSpec

SCENES_BACKBONES = ("resnet10t", "resnet18", "pvt_v2_b0")
SMALL_BACKBONES = ("resnet10t", "resnet18", "pvt_v2_b0")


def _model(backbone: str, pool_stride: int, *, with_mscsa: bool) -> ModelSpec:
    if not with_mscsa:
        return ModelSpec(name=backbone)
    return ModelSpec(name=backbone, mscsa={"pool_stride": pool_stride}, budget=0.25)


def _name(backbone: str, *, with_mscsa: bool) -> str:
    return f"mscsa_{backbone}" if with_mscsa else backbone


def _scenes(backbone: str, *, with_mscsa: bool) -> Recipe:
    return Recipe(
        name=f"scenes/{_name(backbone, with_mscsa=with_mscsa)}",
        paper="not in the paper: handwritten digits of all sizes on textures, rendered on the fly",
        expected="not measured here",
        cost="64 px, 8 epochs of 4,096 scenes" + (", MSCSA at most +25 % MACs" if with_mscsa else ""),
        model=_model(backbone, pool_stride=8, with_mscsa=with_mscsa),
        data=DataSpec(
            kind="scenes",
            image_size=64,
            batch_size=64,
            eval_batch_size=256,
            workers=0,
            num_train=4096,
            num_val=2000,
            num_classes=10,
        ),
        augment=AugmentSpec(
            scale=(1.0, 1.0),
            hflip=0.0,
            color_jitter=None,
            auto_augment=None,
            random_erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            label_smoothing=0.0,
            repeats=1,
        ),
        optim=OptimSpec(lr=2e-3, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5),
        run=RunSpec(epochs=8, checkpoint_every=200, log_every=10),
    )


def _small(backbone: str, *, with_mscsa: bool) -> Recipe:
    return Recipe(
        name=f"small/{_name(backbone, with_mscsa=with_mscsa)}",
        paper="not in the paper: a folder of some thousand photographs, such as Imagenette",
        expected="not measured here; six epochs from scratch are a smoke run, not a result",
        cost="128 px, 6 epochs" + (", MSCSA at most +25 % MACs" if with_mscsa else ""),
        model=_model(backbone, pool_stride=16, with_mscsa=with_mscsa),
        data=DataSpec(kind="folder", image_size=128, batch_size=64, eval_batch_size=128, workers=2),
        augment=AugmentSpec(
            scale=(0.35, 1.0),
            auto_augment=None,
            color_jitter=0.2,
            random_erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            repeats=1,
        ),
        optim=OptimSpec(lr=1e-3, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5),
        run=RunSpec(epochs=6, checkpoint_every=200, log_every=10),
    )


SMALL: tuple[Recipe, ...] = tuple(
    build(backbone, with_mscsa=with_mscsa)
    for build, backbones in ((_scenes, SCENES_BACKBONES), (_small, SMALL_BACKBONES))
    for backbone in backbones
    for with_mscsa in (False, True)
)
