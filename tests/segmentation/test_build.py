"""Building a segmenter by name, on a name or on a pyramid; what cannot be built is one line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch

from mscsa.errors import UserError
from mscsa.models import build_pyramid
from mscsa.segmentation import build_segmenter
from tests.segmentation.small import small


def test_a_ready_pyramid_serves_as_well() -> None:
    pyramid = build_pyramid("resnet10t")
    model = build_segmenter("semantic_fpn", pyramid, 3, fpn_channels=16, head_channels=32, norm="gn")
    assert model.backbone is pyramid
    assert not [m for m in model.decode_head.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    with pytest.raises(UserError, match="pretrained given with a built backbone"):
        build_segmenter("semantic_fpn", pyramid, 3, pretrained=True)


def test_the_padding_is_to_the_coarsest_stride() -> None:
    assert small("semantic_fpn", "resnet10t").size_divisor == 32
    pyramid = build_pyramid("resnet10t", strides=(4, 8))
    assert build_segmenter("semantic_fpn", pyramid, 3, fpn_channels=16, head_channels=32).size_divisor == 8


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "head": (lambda: build_segmenter("unet", "resnet18", 3), "is called 'unet': give one of semantic_fpn"),
    "misspelt head": (
        lambda: build_segmenter("semantic_fnp", "resnet18", 3),
        "no head for segmentation is called 'semantic_fnp': did you mean semantic_fpn?",
    ),
    "head of another task": (lambda: build_segmenter("mask_rcnn", "resnet18", 3), "no head for segmentation"),
    "backbone": (lambda: build_segmenter("semantic_fpn", "resnet81", 3), "no model is called 'resnet81'"),
    "pyramid": (
        lambda: build_segmenter("semantic_fpn", "vit_tiny_patch16_224", 3),
        "two or more strides",
    ),
    "no class": (lambda: build_segmenter("semantic_fpn", "resnet18", 0), "num_classes=0 given: give a whole"),
    "fewer": (lambda: build_segmenter("semantic_fpn", "resnet18", -1), "num_classes=-1 given: give a whole"),
    "option": (
        lambda: build_segmenter("semantic_fpn", "resnet18", 3, fpn_chanels=8),
        "semantic_fpn has no option 'fpn_chanels': did you mean fpn_channels",
    ),
    "of another head": (
        lambda: build_segmenter("semantic_fpn", "resnet18", 3, injected_channels=8),
        "no option 'injected_channels'",
    ),
    "norm": (
        lambda: small("semantic_fpn", "resnet10t", norm="layer"),
        "norm='layer' given: give one of bn, gn",
    ),
    "groups": (
        lambda: small("semantic_fpn", "resnet10t", norm="gn", head_channels=40),
        "head_channels=40 given: group norm needs a multiple of 32",
    ),
    "dropout": (
        lambda: small("semantic_fpn", "resnet10t", dropout=2),
        "dropout=2 given: give a number from 0",
    ),
    "channels": (
        lambda: small("topformer_head", "resnet10t", injected_channels=0),
        "injected_channels=0 given: give a whole number from 1 on, or null",
    ),
    "classifier": (
        lambda: build_segmenter("semantic_fpn", timm.create_model("mscsa_pvt_v2_b0"), 3),
        "semantic_fpn on a MSCSAModel of classifier form: give the name of a backbone, or a pyramid of",
    ),
    "timm's pyramid": (
        lambda: build_segmenter("semantic_fpn", timm.create_model("topformer_tiny", features_only=True), 3),
        "semantic_fpn on a FeatureGetterNet: give the name of a backbone, or a pyramid of",
    ),
    "plain model": (
        lambda: build_segmenter("topformer_head", timm.create_model("resnet10t"), 3),
        "topformer_head on a ResNet: give the name",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_built(case: str) -> None:
    build, message = CASES[case]
    with pytest.raises(UserError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_under_a_neck_the_padding_is_to_the_coarsest_stride_that_it_reads() -> None:
    """CoaT refuses other sizes, and MSCSA reads it whole."""
    channels = {"channels": (16, 32, 32, 64)}
    pyramid = build_pyramid("mscsa_coat_tiny", strides=(4, 8), backbone_kwargs=channels)
    model = build_segmenter("semantic_fpn", pyramid, 2, fpn_channels=16, head_channels=16).eval()
    with torch.no_grad():
        assert model(torch.rand(1, 3, 40, 72)).shape == (1, 2, 40, 72)
