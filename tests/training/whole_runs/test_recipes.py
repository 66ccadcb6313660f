"""Every recipe runs two steps on tiny data, with its own model, loss, optimiser and augmentation."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.checkpoints import read_state_dict, save_weights
from mscsa.models.build import build_pyramid
from mscsa.recipes import RECIPES
from mscsa.recipes.spec import (
    AugmentSpec,
    ClassificationData,
    DataSpec,
    DetectionAugment,
    DetectionData,
    Recipe,
)
from mscsa.training.run import train
from tests.data.coco.coco_folder import write_coco

FIXED_SIZE = ("coat_tiny", "coat_small", "swin_tiny_patch4_window7_224", "mscsa_swin_tiny_patch4_window7_224")
"""Backbones that must be told another image size when they are built."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of noise, four images each and split."""
    root = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("cat", "dog"):
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                pixels = rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Noise with two classes of pixels, in both layouts of label maps."""
    root = tmp_path_factory.mktemp("masks")
    rng = np.random.default_rng(0)
    (root / "classes.txt").write_text("cat\ndog\n")
    for split, long in (("train", "training"), ("val", "validation")):
        for folder in (f"images/{split}", f"labels/{split}", f"images/{long}", f"annotations/{long}"):
            (root / folder).mkdir(parents=True)
        for i in range(4):
            pixels = Image.fromarray(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8))
            labels = rng.integers(0, 2, (70, 90), dtype=np.uint8)
            for name in (split, long):
                pixels.save(root / "images" / name / f"{i}.png")
            Image.fromarray(labels).save(root / "labels" / split / f"{i}.png")
            Image.fromarray(labels + np.uint8(1)).save(root / "annotations" / long / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def coco(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four images with a bar and a disc each, one of them empty, in COCO's format."""
    return write_coco(tmp_path_factory.mktemp("coco"))


def shrunk(recipe: Recipe, root: Path) -> Recipe:
    """Two steps of four images at 64 px in float32; all else is as in the recipe.

    Not in bf16: on CPUs torch 2.14 leaves weight gradients of a depthwise convolution unset where its
    map is smaller than its stride, as it is at 64 px.
    """
    kwargs = {"img_size": 64} if recipe.model.name in FIXED_SIZE else {}
    model = replace(recipe.model, pretrained=False, backbone_kwargs=kwargs)
    classes = {"folder": 2, "masks": 2, "coco": 3}.get(recipe.data.kind, recipe.data.num_classes)
    sizes = {"image_size": 64} if hasattr(recipe.data, "image_size") else {}
    if not isinstance(recipe.data, ClassificationData):
        sizes |= {"short_side": 64}
    data: DataSpec = replace(
        recipe.data,
        root=str(root),
        batch_size=2 if isinstance(recipe.data, DetectionData) else 4,
        workers=0,
        num_train=8,
        num_val=4,
        num_classes=classes,
        **sizes,
    )
    if isinstance(data, DetectionData):
        data = replace(data, long_side=64)
        if "rcnn" in str(model.head):  # a thousand boxes of each image are minutes of a CPU
            model = replace(model, head_kwargs={**model.head_kwargs, "proposals": 50})
    return replace(
        recipe,
        model=model,
        data=data,
        augment=_shrunk_augment(recipe.augment),
        # Two steps of two images are an epoch here, and a warm-up must be shorter than the run.
        optim=replace(recipe.optim, warmup_steps=None if recipe.optim.warmup_steps is None else 0),
        run=replace(recipe.run, max_steps=2, accelerator="cpu", precision="32-true", threads=1),
    )


def start_of(name: str, folder: Path) -> str:
    """Write weights that a frozen backbone can start from, without a download."""
    torch.manual_seed(0)
    path = folder / "start.safetensors"
    save_weights(build_pyramid(name).backbone, path)
    return str(path)


def _shrunk_augment(augment: AugmentSpec) -> AugmentSpec:
    """Draw sizes around 64 px where a recipe draws them around 800."""
    if not isinstance(augment, DetectionAugment):
        return augment
    crop = None if augment.crop_sides is None else (32, 48)
    return replace(
        augment,
        short_sides=(48, 64) if augment.short_sides else (),
        crop_sides=crop,
        crop_short_sides=(40, 50, 60),
    )


FAST = ("scenes/resnet10t", "scenes/mscsa_resnet10t", "scenes_semantic_fpn/mscsa_resnet10t")
FAST += ("ade20k/mscsa_topformer_tiny", "scenes_mask_rcnn/mscsa_resnet10t", "imagenet/mscsa_pvt_v2_b0")
"""For the default suite."""
SLOW = ("small/mscsa_resnet10t", "finetune/mscsa_resnet18", "finetune_segmentation/mscsa_resnet18")
SLOW += ("small_retinanet/resnet18", "coco_retinanet/mscsa_resnet50", "imagenet/mscsa_topformer_tiny")
SLOW += ("frozen_mask_rcnn/mscsa_tf_efficientnet_lite0", "imagenet/pvt_v2_b0")
"""With these one of each table, and the smallest of the paper's rows."""


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name, marks=() if name in FAST else pytest.mark.slow if name in SLOW else pytest.mark.sweep
        )
        for name in RECIPES
    ],
)
def test_two_steps(
    name: str, folder: Path, masks: Path, coco: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPES[name]
    roots = {"classification": folder, "segmentation": masks}
    recipe = shrunk(recipe, roots.get(recipe.model.task, coco))
    if recipe.model.frozen:
        monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "cache"))
        start = start_of(recipe.model.name, tmp_path)
        recipe = replace(recipe, model=replace(recipe.model, checkpoint=start))
    result = train(recipe, tmp_path / "run")
    assert result.steps == 2
    weights, metadata = read_state_dict(tmp_path / "run" / "last.safetensors")
    assert all(value.isfinite().all() for value in weights.values() if value.dtype == torch.float32)
    assert any(".csa1." in key for key in weights) == ("/mscsa_" in name)
    assert name in metadata["recipe"]
