"""Fine-tune a pretrained timm backbone on an image folder, plain or with MSCSA.

Learning rates fall by `layer_decay` per layer group from the new head down, and the stem and the first stage
stay fixed. `FROZEN` names them per backbone; `finetune_recipe` does any other backbone with nothing fixed.
The settings are common practice for fine-tuning on some thousands of images, not the paper's.
"""

from __future__ import annotations

from mscsa.names import both_arms, parse_model_name
from mscsa.recipes.imagenet import IMAGENET
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    ModelSpec,
    OptimSpec,
    Recipe,
    RunSpec,
)

FROZEN: dict[str, tuple[str, ...]] = {
    "resnet18": ("conv1", "bn1", "layer1"),
    "resnet50": ("conv1", "bn1", "layer1"),
    "pvt_v2_b0": ("patch_embed", "stages.0"),
    "pvt_v2_b1": ("patch_embed", "stages.0"),
    "pvt_v2_b2": ("patch_embed", "stages.0"),
    "swin_tiny_patch4_window7_224": ("patch_embed", "layers.0"),
    "convnext_tiny": ("stem", "stages.0"),
}
"""Stem and first stage of the backbones of Table 7, by the names of their parameters in timm."""

WITHOUT_WEIGHTS = ("topformer_", "p2t_", "shunted_", "coat_serial_")
"""Beginnings of the names of our own backbones, which timm has no weights of."""

FINETUNE_PREFIX = "finetune/"
"""Before a model's name: the recipe that fine-tunes it."""


def started_from(model: str) -> str | None:
    """Name the recipe whose weights start a backbone that timm has none of; None for any other.

    Args:
        model: A timm name, with `mscsa_` before it or not.
    """
    # MSCSA is new there, of another size than the paper's.
    backbone = parse_model_name(model).without_mscsa
    recipe = f"imagenet/{backbone}"
    return (
        recipe
        if backbone.startswith(WITHOUT_WEIGHTS) and any(each.name == recipe for each in IMAGENET)
        else None
    )


def said_of_start(model: str) -> str:
    """Say at the end of a cost that a backbone which timm has no weights of needs a file of them."""
    backbone = parse_model_name(model).without_mscsa
    if not backbone.startswith(WITHOUT_WEIGHTS):
        return ""
    return f"; needs --model.checkpoint FILE, timm has no weights of {backbone}"


def finetune_recipe(model: str) -> Recipe:
    """Build the fine-tuning recipe of one backbone.

    Args:
        model: A timm name, or `mscsa_` + a timm name for MSCSA at up to +10 % MACs.
    """
    name = parse_model_name(model)
    with_mscsa = name.has_mscsa
    frozen = FROZEN.get(name.baseline, ())
    return Recipe(
        name=f"{FINETUNE_PREFIX}{model}",
        paper="not in the paper: transfer of a pretrained timm backbone",
        expected="depends on the data; not measured here",
        cost="MACs of the backbone"
        + (", + at most 10 %" if with_mscsa else "")
        + f"; 20 epochs{said_of_start(model)}",
        starts_from=started_from(model),
        model=ModelSpec(
            name=name.without_mscsa,
            budget=0.10 if with_mscsa else None,
            pretrained=True,
            # Not every timm model has stochastic depth; these have.
            drop_path_rate=0.1 if frozen else None,
            freeze=tuple(f"backbone.{part}" if with_mscsa else part for part in frozen),
        ),
        data=ClassificationData(kind="folder", image_size=224, batch_size=64, eval_batch_size=128, workers=4),
        augment=ClassificationAugment(
            scale=(0.35, 1.0),
            auto_augment="rand-m7-mstd0.5-inc1",
            random_erasing=0.1,
            mixup=0.2,
            cutmix=0.5,
            mix_prob=0.5,
            repeats=1,
        ),
        optim=OptimSpec(lr=5e-4, weight_decay=0.05, warmup_epochs=2.0, layer_decay=0.75, ema_decay=0.998),
        run=RunSpec(epochs=20),
    )


FINETUNE: tuple[Recipe, ...] = tuple(
    finetune_recipe(model) for backbone in FROZEN for model in both_arms(backbone)
)
