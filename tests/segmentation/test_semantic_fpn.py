"""Semantic FPN: the levels are brought to the finest one and summed."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mscsa.segmentation import SemanticFPNHead

CHANNELS, STRIDES = (8, 12, 16, 24), (4, 8, 16, 32)


def head(**options: object) -> SemanticFPNHead:
    torch.manual_seed(0)
    return SemanticFPNHead(CHANNELS, STRIDES, 5, fpn_channels=32, head_channels=32, **options).eval()


def maps(height: int = 64, width: int = 96) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [
        torch.randn(2, c, -(-height // s), -(-width // s), generator=generator)
        for c, s in zip(CHANNELS, STRIDES, strict=True)
    ]


def test_each_level_is_doubled_as_often_as_its_stride_asks() -> None:
    """Fig. 3 of the paper: 1, 1, 2, 3 convolutions, with as many doublings as to 1/4 of the image."""
    blocks = head().scale_heads
    assert [sum(isinstance(m, nn.Conv2d) for m in block) for block in blocks] == [1, 1, 2, 3]
    assert [sum(isinstance(m, nn.Upsample) for m in block) for block in blocks] == [0, 1, 2, 3]


@pytest.mark.parametrize("size", [(64, 96), (97, 131)])
def test_logits_are_those_of_the_summed_levels(size: tuple[int, int]) -> None:
    model, pyramid = head(), maps(*size)
    with torch.inference_mode():
        levels = list(model.fpn({str(i): x for i, x in enumerate(pyramid)}).values())
        raised = [
            F.interpolate(block(level), pyramid[0].shape[-2:], mode="bilinear", align_corners=False)
            for block, level in zip(model.scale_heads, levels, strict=True)
        ]
        expected = model.classifier(torch.stack(raised).sum(dim=0))
        logits = model(pyramid)
    assert logits.shape == (2, 5, *pyramid[0].shape[-2:])
    assert torch.allclose(logits, expected, rtol=0, atol=1e-6)


def test_every_level_counts() -> None:
    model, pyramid = head(), maps()
    with torch.inference_mode():
        before = model(pyramid)
        for i in range(len(pyramid)):
            changed = [x + (j == i) for j, x in enumerate(pyramid)]
            assert (model(changed) - before).abs().max() > 1e-5, i


@pytest.mark.parametrize(("norm", "kind"), [("bn", nn.BatchNorm2d), ("gn", nn.GroupNorm)])
def test_the_norm_is_the_one_asked_for(norm: str, kind: type[nn.Module]) -> None:
    norms = [m for m in head(norm=norm).modules() if isinstance(m, (nn.BatchNorm2d, nn.GroupNorm))]
    assert len(norms) == 7 and all(isinstance(m, kind) for m in norms)
