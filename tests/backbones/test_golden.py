"""The golden recipe still draws the numbers the official code was run with."""

import hashlib

import numpy as np
import pytest
import torch

from tests.backbones.golden import (
    GOLDEN_DIR,
    SIZES,
    compare,
    golden_input,
    load_golden,
    value_for,
)

NAMES = sorted(path.stem for path in GOLDEN_DIR.glob("*.npz"))

# Of the files as the official code wrote them: a regenerated file must not slip in unnoticed.
FILE_SHA1 = {
    "coat_small": "9f21e232f2150d31291ab59b8faf073aa0049237",
    "coat_tiny": "4b61abcb85a9f33f738b01e132becc91592c8081",
    "p2t_tiny": "1f25acd63c4c6bd87f97a5d4f313e748e7aac3c0",
    "shunted_t": "857990405524950286b2771aef5f7069f5e41751",
    "topformer_b_backbone": "646fa1f9633abe2a165c637698c0fa501b5219fa",
    "topformer_b_cls": "6e0735178e6daab3613a3ae2d591df1d8bf9d429",
    "topformer_b_seg": "db653e0f0a99ecbb03601c0be5aa7e2ae772c8cf",
    "topformer_t_backbone": "3e89d65c63ff81a918496dcbbf4ddc80512724e0",
    "topformer_t_cls": "0e3a1f657279dd1d447d2b6c017760aab15d8446",
    "topformer_t_seg": "d15e4313771e9bb68ed1b7bd3136686e70f99a2c",
}


def test_parameter_recipe_is_unchanged():
    value = value_for("head.weight", (1000, 384))
    assert value.dtype == np.float32
    assert np.allclose(value.ravel()[:4], [0.07953329, -0.06813496, -0.07803386, -0.06798007])
    digest = hashlib.sha1(value.astype("<f4").tobytes()).hexdigest()
    assert digest == "912b0c41c442c1c146cdd17cf8c172ae674a54ff"


@pytest.mark.parametrize(
    ("size", "digest"),
    [
        ((224, 224), "e831bc9a878f076b4c3590f6ba78a4f0c9235941"),
        ((160, 224), "aa4c39e42ca76cc234b30664d2752945f4cfef9c"),
    ],
)
def test_input_recipe_is_unchanged(size, digest):
    image = golden_input(*size)
    assert image.shape == (1, 3, *size)
    assert hashlib.sha1(image.numpy().astype("<f4").tobytes()).hexdigest() == digest


def test_every_golden_file_is_listed():
    assert sorted(FILE_SHA1) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_file_is_the_official_one(name):
    assert hashlib.sha1((GOLDEN_DIR / f"{name}.npz").read_bytes()).hexdigest() == FILE_SHA1[name]


@pytest.mark.parametrize("tag", SIZES)
def test_compare_rejects_a_small_error(tag):
    golden = load_golden("p2t_tiny")
    logits = torch.from_numpy(golden.arrays[f"{tag}/logits64"])
    compare(golden, tag, "logits", logits, torch.float64)
    spoiled = logits.clone()
    spoiled[0, 7] += 1e-8 * logits.abs().max()
    with pytest.raises(AssertionError, match="relative error"):
        compare(golden, tag, "logits", spoiled, torch.float64)
