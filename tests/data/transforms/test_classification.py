"""Transforms: the model's own preprocessing, timm's augmentation, and no silent policy typo."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform

from mscsa.data.seeding import seeded
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData

FOLDER = ClassificationData(kind="folder", root="unused", image_size=64)
SCENES = ClassificationData(kind="scenes", image_size=64, num_train=1, num_val=1)
PLAIN = ClassificationAugment(
    scale=(1.0, 1.0), hflip=0.0, color_jitter=None, auto_augment=None, random_erasing=0.0
)
CFG = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), "crop_pct": 0.8, "interpolation": "bilinear"}
NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8))


def test_evaluation_is_timms_for_the_models_own_configuration():
    _, evaluation = build_classification_transforms(FOLDER, ClassificationAugment(), CFG)
    expected = create_transform(64, **CFG)
    assert torch.equal(evaluation(NOISE), expected(NOISE))
    for change in ({"mean": (0, 0, 0)}, {"std": (1, 1, 1)}, {"crop_pct": 1.0}):
        _, other = build_classification_transforms(FOLDER, ClassificationAugment(), CFG | change)
        assert not torch.equal(evaluation(NOISE), other(NOISE)), change


def test_what_the_model_leaves_out_takes_timms_defaults():
    _, evaluation = build_classification_transforms(FOLDER, ClassificationAugment(), {})
    expected = create_transform(64, interpolation="bicubic")
    assert torch.equal(evaluation(NOISE), expected(NOISE))


def test_scenes_are_evaluated_whole_at_native_size():
    _, evaluation = build_classification_transforms(SCENES, ClassificationAugment(), CFG)
    scene = NOISE.crop((0, 0, 64, 64))
    restored = evaluation(scene) * torch.tensor(CFG["std"]).view(3, 1, 1)
    restored = (restored + torch.tensor(CFG["mean"]).view(3, 1, 1)) * 255
    pixels = torch.from_numpy(np.asarray(scene).copy()).permute(2, 0, 1)
    assert torch.equal(restored.round().byte(), pixels)


def test_training_output_is_normalised_and_of_the_right_size():
    train, _ = build_classification_transforms(FOLDER, PLAIN, CFG)
    grey = Image.new("RGB", (64, 64), (128, 128, 128))
    expected = (128 / 255 - torch.tensor(CFG["mean"])) / torch.tensor(CFG["std"])
    assert torch.allclose(train(grey), expected.view(3, 1, 1).expand(3, 64, 64), atol=1e-5)


@pytest.mark.parametrize(
    "on",
    [
        {"scale": (0.1, 0.5)},
        {"hflip": 1.0},
        {"color_jitter": 0.4},
        {"auto_augment": "rand-m9-mstd0.5-inc1"},
        {"auto_augment": "original"},
        {"auto_augment": "augmix-m5-w4-d2"},
        {"random_erasing": 1.0},
        {"interpolation": "nearest"},
    ],
    ids=str,
)
def test_each_augmentation_reaches_the_image_and_is_a_function_of_the_key(on):
    plain, _ = build_classification_transforms(FOLDER, PLAIN, CFG)
    train, _ = build_classification_transforms(FOLDER, replace(PLAIN, **on), CFG)

    def draw(transform, position):
        with seeded(0, position):
            return transform(NOISE)

    assert any(not torch.equal(draw(train, p), draw(plain, p)) for p in range(8))
    for position in range(8):
        assert torch.equal(draw(train, position), draw(train, position))


def test_erasing_is_by_pixel():
    train, _ = build_classification_transforms(FOLDER, replace(PLAIN, random_erasing=1.0), CFG)
    flat = Image.new("RGB", (64, 64), (100, 100, 100))
    with seeded(0):
        erased = train(flat)[0]
    values = erased[erased != erased.mode().values.mode().values]
    assert values.numel() > 64 * 64 * 0.02 / 2 and values.unique().numel() > 0.9 * values.numel()


@pytest.mark.parametrize(
    "policy",
    ["rand-m9-mstd0.5-inc1", "rand-m6-n4-mstd1.0-p0.5", "rand-mstd1-tweights", "rand-m9-mmax20",
     "augmix-m5-w4-d2", "original", "originalr", "v0", "v0r-mstd0.5", "3a"],
)  # fmt: skip
def test_timms_policies_are_accepted(policy):
    train, _ = build_classification_transforms(FOLDER, replace(PLAIN, auto_augment=policy), CFG)
    assert train(NOISE).shape == (3, 64, 64)


@pytest.mark.parametrize(
    "policy", ["random-m9", "rand-x9", "rand-m", "rand-inc", "rand-m9x", "rand_m9", "", "v1",
               "augmix-q4", "original-m9", "rand-m9\n"]
)  # fmt: skip
def test_a_policy_that_timm_would_drop_or_choke_on_is_one_line(policy):
    with pytest.raises(UserError, match="is no policy of timm.*rand-m9-mstd0.5-inc1") as caught:
        build_classification_transforms(FOLDER, replace(PLAIN, auto_augment=policy), CFG)
    assert "\n" not in str(caught.value)


def test_an_unknown_interpolation_is_one_line():
    with pytest.raises(UserError, match="'cubic' is not known; give one of nearest, bilinear"):
        build_classification_transforms(FOLDER, replace(PLAIN, interpolation="cubic"), CFG)
    for known in ("nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "random"):
        train, _ = build_classification_transforms(FOLDER, replace(PLAIN, interpolation=known), CFG)
        assert train(NOISE).shape == (3, 64, 64)
