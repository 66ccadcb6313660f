"""BiFPN against effdet's (`make_golden.py`)."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mscsa.necks.bifpn import BiFPN, BiFPNConfig, FusionNode, Source
from tests.necks.golden_cases import CASES, WIDTH, Case, load_case
from tests.necks.pyramids import largest_error


@pytest.mark.parametrize("case", CASES["bifpn"], ids=lambda case: case.name)
def test_it_is_effdets_with_the_same_weights(case: Case) -> None:
    weights, maps, expected = load_case("bifpn", case)
    neck = BiFPN(case.channels, case.strides, {"channels": WIDTH, "depth": case.depth}).double().eval()
    neck.load_state_dict(weights)
    assert largest_error(neck(maps), expected) < 1e-6


def test_golden_fusion_weights_are_of_both_signs() -> None:
    weights = load_case("bifpn", CASES["bifpn"][0])[0]
    fusion = torch.cat([value for key, value in weights.items() if key.endswith("weights")])
    assert (fusion < 0).any() and (fusion > 0).any()


def test_a_node_by_hand() -> None:
    """Level 1 of three: its own map, a coarser and a finer one."""
    config = BiFPNConfig(channels=2)
    node = FusionNode(1, [Source(1, 2), Source(2, 2), Source(0, 2)], (4, 8, 16), config).double().eval()
    assert not node.projections and node.steps == [1, 1, 2]
    with torch.no_grad():
        node.weights.copy_(torch.tensor([2.0, -1.0, 3.0]))
        node.pointwise.weight.copy_(torch.eye(2).reshape(2, 2, 1, 1))
        node.depthwise.weight.zero_()[:, :, 1, 1] = 1
    own, coarse, fine = (torch.randn(1, 2, s, s).double() for s in (4, 2, 8))
    pooled = nn.functional.max_pool2d(fine, 3, 2, 1)
    fused = nn.functional.silu((2 * own + 3 * pooled) / (5 + 1e-4))  # a weight below 0 counts 0
    expected = fused / (1 + 1e-3) ** 0.5
    torch.testing.assert_close(node([own, coarse, fine], (4, 4)), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("step", [2, 3, 4, 5])
def test_pooling_rounds_up_at_every_step(step: int) -> None:
    """Each value of the coarser map is the largest of a window around its own place."""
    node = FusionNode(1, [Source(1, 2), Source(0, 2)], (4, 4 * step), BiFPNConfig(channels=2))
    for length in range(1, 4 * step):
        places = torch.arange(length).reshape(1, 1, 1, -1).expand(1, 2, 1, -1).double()
        pooled = node._resample(1, places, (1, (length - 1) // step + 1))
        last = [min(length - 1, i * step + step // 2) for i in range((length - 1) // step + 1)]
        assert pooled[0, 0, 0].tolist() == last, length


def test_what_the_paper_sets() -> None:
    neck = BiFPN([4, 64, 8], [8, 16, 32])
    assert len(neck.layers) == 3 and neck.out_channels == (64, 64, 64)
    norms = [m for m in neck.modules() if isinstance(m, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    # The map that is 64 wide needs no projection, the coarsest is taken twice, the others by one node each.
    projected = [key for key, m in neck.named_modules() if "projections" in key and isinstance(m, nn.Conv2d)]
    assert projected == [
        "layers.0.top_down.1.projections.1.0",
        "layers.0.top_down.0.projections.0.0",
        "layers.0.bottom_up.2.projections.0.0",
    ]
    assert {
        m.momentum for m in BiFPN([4, 8], [8, 16], {"norm_momentum": 0.1}).modules() if hasattr(m, "eps")
    } == {0.1}


def test_it_starts_with_equal_shares() -> None:
    neck = BiFPN([4, 8], [8, 16])
    assert all((p == 1).all() for key, p in neck.named_parameters() if key.endswith("weights"))
