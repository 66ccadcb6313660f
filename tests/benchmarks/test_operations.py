"""The profile by kinds of operation: each of torch's names has one, and what is counted adds up."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from benchmarks.operations import Profiles, kind_of, measure


@pytest.mark.parametrize(
    ("name", "shapes", "kind"),
    [
        ("aten::conv2d", [[1, 8, 7, 7], [16, 8, 1, 1]], "1x1 convolutions"),
        ("aten::_slow_conv2d_forward", [[1, 8, 7, 7], [16, 8, 1, 1]], "1x1 convolutions"),
        ("aten::mkldnn_convolution", [[1, 8, 7, 7], [8, 1, 3, 3]], "depthwise convolutions"),
        ("aten::conv2d", [[1, 3, 7, 7], [8, 3, 3, 3]], "other convolutions"),
        ("aten::_scaled_dot_product_flash_attention_for_cpu", [], "attention"),
        ("aten::addmm", [], "linear layers"),
        ("aten::add", [], "sums and products"),
        ("aten::hardswish_", [], "activations"),
        ("aten::native_batch_norm", [], "norms"),
        ("aten::_adaptive_avg_pool2d", [], "pooling"),
        ("aten::upsample_bilinear2d", [], "resizing"),
        ("aten::copy_", [], "copies"),
        ("aten::as_strided", [], "calls"),
    ],
)
def test_each_operation_has_a_kind(name: str, shapes: list[list[int]], kind: str) -> None:
    assert kind_of(name, shapes) == kind


def test_shares_add_up_and_calls_are_of_one_pass() -> None:
    model = nn.Sequential(nn.Conv2d(8, 16, 1), nn.Hardswish(), nn.Conv2d(16, 4, 1)).eval()
    image = torch.randn(2, 8, 32, 32)

    def step() -> None:
        with torch.inference_mode():
            model(image)

    found = {each.kind: each for each in measure("small", 2, step, passes=3)}
    assert sum(each.share for each in found.values()) == pytest.approx(1)
    products = found["1x1 convolutions"]
    assert products.calls == 2 and found["activations"].calls == 1
    assert products.gmacs_per_s == pytest.approx(2 * 32 * 32 * (8 * 16 + 16 * 4) / products.ms / 1e6)


def test_a_model_has_its_macs_per_second() -> None:
    """Of the time of all its operations, whatever they are."""
    image, weight = torch.randn(4, 256, 14, 14), torch.randn(256, 256, 1, 1)
    profiles = Profiles()
    macs = 14 * 14 * 256 * 256
    profiles.add("product", 4, macs, lambda: torch.conv2d(image, weight), passes=4)
    spent = sum(each.ms for each in profiles.shares)
    assert profiles.gmacs_per_s == {"product, batch 4": pytest.approx(4 * macs / spent / 1e6)}
    assert profiles.peak > 0
