"""Copies of models without data."""

import pytest
import torch
from torch import nn

from mscsa.backbones.timm_pyramid import build_backbone, pyramid_levels, refuse_pruned
from mscsa.macs import count_macs
from mscsa.models.configure import measure_backbone
from mscsa.skeletons import without_data


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3), nn.Conv2d(3, 3, 1))
        self.body[2].weight = self.body[0].weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)


@pytest.fixture
def no_copied_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail wherever the data of a tensor is copied."""

    def refuse(self: torch.Tensor, memo: object) -> None:
        raise AssertionError("data copied")

    monkeypatch.setattr(torch.Tensor, "__deepcopy__", refuse)
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", refuse)


@pytest.mark.usefixtures("no_copied_data")
def test_a_copy_has_all_but_the_data() -> None:
    model = Tied()
    copied = without_data(model)
    values, own = copied.state_dict(), model.state_dict()
    assert {key: (v.shape, v.dtype) for key, v in values.items()} == {
        key: (v.shape, v.dtype) for key, v in own.items()
    }
    assert all(value.is_meta for value in values.values())
    assert copied.body[2].weight is copied.body[0].weight
    assert not any(p.requires_grad for p in copied.parameters())
    assert all(p.requires_grad and not p.is_meta for p in model.parameters())
    assert copied(torch.rand(2, 3, 4, 4, device="meta")).shape == (2, 3, 4, 4)


@pytest.mark.usefixtures("no_copied_data")
def test_whoever_counts_copies_no_data() -> None:
    backbone = build_backbone("test_resnet")
    _, reference = measure_backbone(backbone, "test_resnet", None, 64)
    assert reference == count_macs(backbone, (64, 64))
    backbone.layer1 = nn.Sequential()
    refuse_pruned(backbone, pyramid_levels(backbone))  # what looks pruned is run, and this gives its maps
