"""Recipes that a laptop finishes: rendered scenes at 64 px and small photographs at 128 px.

Not the paper's: they show the whole path on a CPU. At such sizes the paper's pooling stride of 32
leaves a map of 2x2 or 4x4 tokens, so MSCSA pools to 8x8 instead.
"""

from __future__ import annotations

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
)

SCENES_EPOCHS = {
    "resnet10t": 3,
    "resnet18": 3,
    "pvt_v2_b0": 10,
    "topformer_tiny": 10,
    "topformer_base": 10,
    "p2t_tiny": 10,
    "shunted_tiny": 10,
    "coat_tiny": 4,
    "coat_small": 4,
}
"""Backbones with scenes recipes, and their epochs: few enough for a ResNet that there is something left to
gain; transformers learn slower, and CoaT costs several times the others."""
OWN_CONFIGURATION = (
    "topformer_tiny",
    "topformer_base",
    "coat_tiny",
    "coat_small",
    "p2t_tiny",
    "shunted_tiny",
)
"""Of these MSCSA keeps the paper's configuration (Table 7); the others get one for a budget of 25 %."""
SMALL_BACKBONES = ("resnet10t", "resnet18", "pvt_v2_b0")


def _model(model: str, pool_stride: int) -> ModelSpec:
    name = parse_model_name(model)
    if not name.has_mscsa:
        return ModelSpec(name=model)
    if name.baseline in OWN_CONFIGURATION:
        return ModelSpec(name=model, mscsa={"pool_stride": pool_stride})
    return ModelSpec(name=name.baseline, mscsa={"pool_stride": pool_stride}, budget=0.25)


def _cost(model: ModelSpec) -> str:
    return "" if model.budget is None else f", MSCSA at most +{model.budget:.0%} MACs"


def scenes_recipe(model: str) -> Recipe:
    """Build the recipe on rendered scenes of a backbone of `SCENES_EPOCHS`, or of `mscsa_` + one."""
    epochs = SCENES_EPOCHS[parse_model_name(model).baseline]
    spec = _model(model, pool_stride=8)
    return Recipe(
        name=f"scenes/{model}",
        paper="not in the paper: handwritten digits of all sizes on textures, rendered on the fly",
        expected="not measured here",
        cost=f"64 px, {epochs} epochs of 3,000 scenes{_cost(spec)}",
        model=spec,
        data=ClassificationData(
            kind="scenes",
            image_size=64,
            batch_size=32,
            eval_batch_size=256,
            workers=0,
            num_train=3000,
            num_val=2000,
            num_classes=10,
        ),
        augment=ClassificationAugment(
            scale=(1.0, 1.0),
            hflip=0.0,
            color_jitter=None,
            auto_augment=None,
            random_erasing=0.0,
            mixup=0.0,
            cutmix=0.0,
            label_smoothing=0.1,
            repeats=1,
        ),
        optim=OptimSpec(lr=2e-3, weight_decay=0.05, warmup_epochs=0.5, min_lr=1e-5),
        run=RunSpec(epochs=epochs, checkpoint_every=200, log_every=10),
    )


def _small(model: str) -> Recipe:
    spec = _model(model, pool_stride=16)
    return Recipe(
        name=f"small/{model}",
        paper="not in the paper: a folder of some thousand photographs, such as Imagenette",
        expected="not measured here; six epochs from scratch are a smoke run, not a result",
        cost=f"128 px, 6 epochs{_cost(spec)}",
        model=spec,
        data=ClassificationData(kind="folder", image_size=128, batch_size=64, eval_batch_size=128, workers=2),
        augment=ClassificationAugment(
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
    build(model)
    for build, backbones in ((scenes_recipe, SCENES_EPOCHS), (_small, SMALL_BACKBONES))
    for backbone in backbones
    for model in both_arms(backbone)
)
