"""Small models of different kinds, built quickly, for the tests of whole models."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

import mscsa


@dataclass(frozen=True)
class Case:
    """A backbone and what is particular to it."""

    name: str
    backbone_kwargs: dict[str, Any] = field(default_factory=dict)
    has_stride_2: bool = False
    size: tuple[int, int] = (64, 96)

    def build(self, **kwargs: Any) -> mscsa.MSCSAModel:
        """Build with a light configuration and fixed weights."""
        torch.manual_seed(0)
        fields = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25, **kwargs}
        return mscsa.create_model(self.name, backbone_kwargs=self.backbone_kwargs, **fields)

    def image(self, batch: int = 2, channels: int = 3) -> torch.Tensor:
        return torch.rand(batch, channels, *self.size, generator=torch.Generator().manual_seed(0))


RESNET = Case("resnet10t", has_stride_2=True)
PVT = Case("pvt_v2_b0")
CONVNEXT = Case("test_convnext")
SWIN = Case(
    "swin_tiny_patch4_window7_224",  # NHWC inside
    backbone_kwargs={"embed_dim": 24, "depths": (1, 1, 1, 1), "num_heads": (1, 2, 4, 8)},
    size=(96, 64),
)
CASES = (RESNET, PVT, CONVNEXT, SWIN)

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
both_forms = pytest.mark.parametrize("features_only", [False, True], ids=["classifier", "pyramid"])
