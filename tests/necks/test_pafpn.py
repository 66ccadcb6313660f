"""PAFPN against MMDetection's (`make_golden.py`)."""

from __future__ import annotations

import math

import pytest
import torch

from mscsa.necks.pafpn import PAFPN
from tests.necks.golden_cases import CASES, WIDTH, Case, load_case
from tests.necks.pyramids import largest_error, small_neck


@pytest.mark.parametrize("case", CASES["pafpn"], ids=lambda case: case.name)
def test_it_is_mmdetections_with_the_same_weights(case: Case) -> None:
    weights, maps, expected = load_case("pafpn", case)
    neck = PAFPN(case.channels, case.strides, {"channels": WIDTH, "norm": case.norm}).double().eval()
    neck.load_state_dict(weights)
    assert largest_error(neck(maps), expected) < 1e-6


def test_the_finest_map_is_the_fpns_own() -> None:
    neck = small_neck("pafpn")
    maps = [
        torch.rand(1, c, 32 // s, 64 // s).double() for c, s in zip(neck.channels, (1, 2, 4, 8), strict=True)
    ]
    assert torch.equal(neck(maps)[0], neck.fpn(maps)[0])


def test_it_starts_xavier_uniform() -> None:
    torch.manual_seed(0)
    neck = PAFPN([64, 64], [8, 16], {"channels": 64, "norm": "none"})
    for key, value in neck.state_dict().items():
        if value.ndim == 1:
            assert not value.any(), key
        else:
            bound = math.sqrt(6 / (2 * 64 * value[0, 0].numel()))
            assert 0.98 * bound < value.abs().max() <= bound, key


def test_a_map_that_was_rounded_down_is_met_by_the_nearest_values() -> None:
    neck = PAFPN([4, 4], [8, 16], {"channels": 4}).eval()
    seen = []
    neck.downsamples["1"].register_forward_hook(lambda module, args, out: seen.append(tuple(out.shape[2:])))
    maps = [torch.rand(1, 4, 7, 9), torch.rand(1, 4, 3, 4)]
    assert [tuple(x.shape[2:]) for x in neck(maps)] == [(7, 9), (3, 4)]
    assert seen == [(4, 5)]
