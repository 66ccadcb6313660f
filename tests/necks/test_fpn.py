"""FPN against torchvision's, live."""

from __future__ import annotations

from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.ops import FeaturePyramidNetwork

from mscsa.necks.fpn import FPN
from tests.attention.weights import randomise
from tests.necks.pyramids import CHANNELS, STRIDES, largest_error, maps_of, sizes_at


@pytest.mark.parametrize("norm", ["none", "bn"])
@pytest.mark.parametrize("levels", [2, 3, 4, 5])
@pytest.mark.parametrize("size", [(128, 192), (97, 131)])
def test_it_is_torchvisions_with_the_same_weights(norm: str, levels: int, size: tuple[int, int]) -> None:
    norm_layer = nn.BatchNorm2d if norm == "bn" else None
    reference = randomise(FeaturePyramidNetwork(list(CHANNELS[:levels]), 8, norm_layer=norm_layer))
    neck = FPN(CHANNELS[:levels], STRIDES[:levels], {"channels": 8, "norm": norm}).double().eval()
    neck.load_state_dict(reference.state_dict())
    maps = maps_of(sizes_at(size, levels))
    expected = reference(OrderedDict((str(i), x) for i, x in enumerate(maps)))
    assert largest_error(neck(maps), list(expected.values())) < 1e-12


def test_it_starts_as_torchvisions() -> None:
    """Bounds of the uniform draw, which many values nearly reach."""
    torch.manual_seed(0)
    ours = FPN(CHANNELS[:3], STRIDES[:3], {"channels": 128}).state_dict()
    theirs = FeaturePyramidNetwork(list(CHANNELS[:3]), 128).state_dict()
    assert set(ours) == set(theirs)
    for key, value in theirs.items():
        assert torch.allclose(ours[key].abs().max(), value.abs().max(), rtol=0.02)
        if value.ndim == 4:
            assert torch.allclose(ours[key].std(), value.std(), rtol=0.1)
