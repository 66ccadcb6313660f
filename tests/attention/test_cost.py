"""The closed form against torch's counter and the costs that the design computed by hand."""

import re
from dataclasses import replace
from typing import get_args

import pytest
import torch

from mscsa.attention import (
    MSCSA,
    CrossScaleAttention,
    FeedForward,
    MSCSAConfig,
    MSCSANeck,
    config_for_budget,
    mscsa_macs,
)
from mscsa.attention.config import Downsampling
from mscsa.backbones.presets import PRESETS
from mscsa.macs import run_and_count

STRIDES = [4, 8, 16, 32]
CHANNELS = {
    "resnet18": [64, 128, 256, 512],
    "resnet50": [256, 512, 1024, 2048],
    "pvt_v2_b0": [32, 64, 160, 256],
    "pvt_v2_b1": [64, 128, 320, 512],
    "pvt_v2_b2": [64, 128, 320, 512],
    "swin_tiny_patch4_window7_224": [96, 192, 384, 768],
    "convnext_tiny": [96, 192, 384, 768],
    "p2t_tiny": [48, 96, 240, 384],
    "shunted_tiny": [64, 128, 256, 512],
    "topformer_tiny": [16, 32, 64, 96],
    "topformer_base": [32, 64, 128, 160],
    "coat_serial_tiny": [152, 152, 152, 152],
    "coat_serial_small": [152, 320, 320, 320],
}
TOPFORMER_T = CHANNELS["topformer_tiny"]
INPUTS = [(224, 224), (512, 512), (800, 1280)]


def sizes_at(size: tuple[int, int]) -> list[tuple[int, int]]:
    return [(-(-size[0] // s), -(-size[1] // s)) for s in STRIDES]


def gmacs(channels, config, size, *, fused=False) -> float:
    levels = range(len(channels)) if fused else ()
    return mscsa_macs(channels, STRIDES, sizes_at(size), config, levels).total / 1e9


def counted(module: torch.nn.Module, channels, size) -> int:
    module = module.eval()
    maps = [torch.empty(1, c, *s, device="meta") for c, s in zip(channels, sizes_at(size), strict=True)]
    return run_and_count(lambda: module(maps))[1]


@pytest.mark.parametrize(
    "size", [INPUTS[0], pytest.param(INPUTS[1], marks=pytest.mark.slow), INPUTS[2]], ids=str
)
@pytest.mark.parametrize("name", PRESETS)
def test_closed_form_equals_the_counter(name, size):
    channels, config = CHANNELS[name], PRESETS[name].config
    with torch.device("meta"):
        token_map, neck = MSCSA(channels, STRIDES, config), MSCSANeck(channels, STRIDES, config)
    assert counted(token_map, channels, size) == pytest.approx(1e9 * gmacs(channels, config, size), rel=1e-3)
    assert counted(neck, channels, size) == pytest.approx(
        1e9 * gmacs(channels, config, size, fused=True), rel=1e-3
    )


@pytest.mark.parametrize("intra_ffn", [True, False])
@pytest.mark.parametrize("parallel_conv", [True, False])
@pytest.mark.parametrize("downsampling", get_args(Downsampling))
def test_closed_form_equals_the_counter_in_every_ablation(downsampling, parallel_conv, intra_ffn):
    config = MSCSAConfig(
        depth=2,
        head_dim=15,
        mlp_ratio=1.5,
        pool_stride=64,
        downsampling=downsampling,
        parallel_conv=parallel_conv,
        intra_ffn=intra_ffn,
    )
    channels, size = [20, 36, 52, 70], (250, 333)
    expected = 1e9 * gmacs(channels, config, size)
    with torch.device("meta"):
        mscsa = MSCSA(channels, STRIDES, config)
    assert counted(mscsa, channels, size) == pytest.approx(expected, rel=1e-3)


def test_components_equal_the_counter():
    """Count each kind of module where it runs, by hooks."""
    channels, size = CHANNELS["pvt_v2_b1"], (320, 416)
    config = replace(PRESETS["pvt_v2_b1"].config, depth=2)
    with torch.device("meta"):
        neck = MSCSANeck(channels, STRIDES, config).eval()
    inputs: dict[torch.nn.Module, tuple] = {}

    def record(module: torch.nn.Module, args: tuple) -> None:
        inputs[module] = args

    parts = {
        "squeeze": list(neck.mscsa.squeezes),
        "csa": [m for m in neck.modules() if isinstance(m, CrossScaleAttention)],
        "ffn": [block.ffn2 for block in neck.mscsa.blocks],
        "intra_ffn": [block.ffn1 for block in neck.mscsa.blocks],
        "fusion": list(neck.fusion),
    }
    assert all(isinstance(m, FeedForward) for m in [*parts["ffn"], *parts["intra_ffn"]])
    for modules in parts.values():
        for module in modules:
            module.register_forward_pre_hook(record)
    counted(neck, channels, size)
    seen = {
        name: sum(run_and_count(lambda m=m: m(*inputs[m]))[1] for m in modules)
        for name, modules in parts.items()
    }
    macs = mscsa_macs(channels, STRIDES, sizes_at(size), config, range(4))
    assert seen == {
        "squeeze": macs.squeeze,
        "csa": macs.csa + macs.attention,
        "ffn": macs.ffn,
        "intra_ffn": macs.intra_ffn,
        "fusion": macs.fusion,
    }
    assert macs.total == sum(seen.values())


@pytest.mark.parametrize(
    ("name", "size", "fused", "expected"),
    [
        ("resnet18", (224, 224), False, "0.199"),
        ("resnet50", (224, 224), False, "0.507"),
        ("pvt_v2_b0", (224, 224), False, "0.081"),
        ("pvt_v2_b1", (224, 224), False, "0.218"),
        ("pvt_v2_b2", (224, 224), False, "0.501"),
        ("p2t_tiny", (224, 224), False, "0.227"),
        ("shunted_tiny", (224, 224), False, "0.221"),
        ("swin_tiny_patch4_window7_224", (224, 224), False, "0.622"),
        ("convnext_tiny", (224, 224), False, "0.622"),
        ("topformer_tiny", (224, 224), False, "0.055"),
        ("topformer_base", (224, 224), False, "0.176"),
        ("coat_serial_tiny", (224, 224), False, "1.90"),
        ("coat_serial_small", (224, 224), False, "8.00"),
        ("resnet18", (800, 1280), True, "5.92"),
        ("resnet50", (800, 1280), True, "14.96"),
        ("pvt_v2_b0", (800, 1280), True, "2.70"),
        ("pvt_v2_b1", (800, 1280), True, "6.35"),
        ("pvt_v2_b2", (800, 1280), True, "12.99"),
        ("p2t_tiny", (800, 1280), True, "7.10"),
        ("shunted_tiny", (800, 1280), True, "6.73"),
        ("swin_tiny_patch4_window7_224", (800, 1280), True, "16.24"),
        ("convnext_tiny", (800, 1280), True, "16.24"),
        ("coat_serial_tiny", (800, 1280), True, "13.4"),
        ("coat_serial_small", (800, 1280), True, "49.9"),
        ("pvt_v2_b0", (512, 512), True, ".502"),
        ("pvt_v2_b1", (512, 512), True, "1.32"),
        ("pvt_v2_b2", (512, 512), True, "2.89"),
        ("topformer_tiny", (512, 512), False, ".0715"),  # dense, with an injection of its own
        ("topformer_base", (512, 512), False, ".227"),
    ],
)
def test_costs_computed_by_hand(name, size, fused, expected):
    """GMACs of MSCSA alone, to one unit of the last digit given."""
    preset = PRESETS[name]
    is_dense = size != (224, 224)
    config = replace(preset.config, pool_stride=preset.dense_pool_stride) if is_dense else preset.config
    one_unit = 10.0 ** -len(expected.split(".")[1])
    assert gmacs(CHANNELS[name], config, size, fused=fused) == pytest.approx(float(expected), abs=one_unit)


def test_table_1():
    """One layer each in PVTv2-B1 at 224x224; the paper prints 49 M for CSA, unexplained."""
    macs = mscsa_macs(CHANNELS["pvt_v2_b1"], STRIDES, sizes_at((224, 224)), PRESETS["pvt_v2_b1"].config)
    assert (macs.csa + macs.attention) / 2 == pytest.approx(47.8e6, abs=0.06e6)
    assert macs.ffn == pytest.approx(80.8e6, abs=0.05e6)
    assert macs.intra_ffn == pytest.approx(30.0e6, abs=0.05e6)


@pytest.mark.parametrize(
    ("fields", "mmacs"),
    [
        (dict(head_dim=16, mlp_ratio=2, parallel_conv=False, intra_ffn=False, downsampling="none"), 52.15),
        (dict(head_dim=16, mlp_ratio=2, parallel_conv=True, intra_ffn=False, downsampling="none"), 52.38),
        (dict(head_dim=16, mlp_ratio=3, parallel_conv=True, intra_ffn=True, downsampling="none"), 52.84),
        (dict(head_dim=14, mlp_ratio=3), 55.13),
        # Not the paper's rows: single options of the final configuration taken away.
        (dict(head_dim=14, mlp_ratio=3, parallel_conv=False, intra_ffn=False, downsampling="none"), 67.3),
        (dict(head_dim=14, mlp_ratio=3, intra_ffn=False, downsampling="none"), 67.5),
        (dict(head_dim=14, mlp_ratio=3, downsampling="none"), 50.6),
    ],
)
def test_table_4(fields, mmacs):
    config = MSCSAConfig(depth=2, num_heads=4, **fields)
    tolerance = 0.005 if round(mmacs, 1) != mmacs else 0.05
    assert 1e3 * gmacs(TOPFORMER_T, config, (224, 224)) == pytest.approx(mmacs, abs=tolerance)


@pytest.mark.parametrize("budget", [0.03e9, 0.1e9, 0.25e9, 1e9])
@pytest.mark.parametrize("fused", [(), (0, 1, 2, 3), (1, 3)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "pvt_v2_b0", "convnext_tiny"])
def test_budget_is_met(name, fused, budget):
    sizes = sizes_at((224, 224))
    config = config_for_budget(CHANNELS[name], STRIDES, sizes, budget, MSCSAConfig(), fused)
    cost = mscsa_macs(CHANNELS[name], STRIDES, sizes, config, fused).total
    assert 0.9 * budget <= cost <= budget
    assert 0 < config.squeeze_ratio <= 1


def test_budget_keeps_what_is_fixed():
    start = MSCSAConfig(depth=2, squeeze_ratio=0.5, num_heads=4, mlp_ratio=1.5)
    channels, sizes = CHANNELS["resnet18"], sizes_at((224, 224))
    config = config_for_budget(
        channels, STRIDES, sizes, 0.19e9, start, fixed=("depth", "squeeze_ratio", "num_heads")
    )
    assert config == replace(start, head_dim=config.head_dim)


@pytest.mark.parametrize("budget", [1e3, 1e13])
def test_impossible_budgets_name_the_nearest_possible_cost(budget):
    sizes = sizes_at((224, 224))
    with pytest.raises(ValueError, match=r"no MSCSA fits a budget of .* the nearest cost .* GMACs; give"):
        config_for_budget(CHANNELS["resnet18"], STRIDES, sizes, budget, MSCSAConfig())


def test_a_gap_between_two_costs_names_both():
    start = MSCSAConfig(squeeze_ratio=1.0, depth=1)
    fixed = ("depth", "squeeze_ratio", "head_dim")
    sizes = sizes_at((224, 224))
    only = mscsa_macs(CHANNELS["resnet18"], STRIDES, sizes, start).total
    with pytest.raises(ValueError, match=f"the nearest cost {only / 1e9:.4g} GMACs"):
        config_for_budget(CHANNELS["resnet18"], STRIDES, sizes, 0.5 * only, start, fixed=fixed)


@pytest.mark.parametrize("count", ["macs", "budget"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config": MSCSAConfig(pool_stride=2)}, "pool_stride=2 is finer than the finest stage: give 4"),
        ({"config": 3}, "config=3 is not allowed: give MSCSAConfig"),
        ({"channels": [8]}, "1 channel counts and 2 strides given"),
        ({"channels": None}, "channels=None is not allowed"),
        ({"channels": [8.5, 16]}, "channels[0]=8.5 is not allowed"),
        ({"strides": [8, 4]}, "strides [8, 4] are not a pyramid"),
        ({"sizes": [(8, 8)]}, "sizes=[(8, 8)] is not allowed: give one (H, W) for each of 2 stages"),
        ({"fused_levels": [2]}, "fused_levels=[2] given: give indices between 0 and 1"),
        ({"fused_levels": [-1]}, "fused_levels=[-1] given"),
        ({"fused_levels": [0.5]}, "fused_levels=[0.5] given"),
        ({"fused_levels": 1}, "fused_levels=1 given"),
    ],
)
def test_a_cost_checks_its_pyramid_as_the_neck_does(count, changes, message):
    given = {"channels": [8, 16], "strides": [4, 8], "sizes": [(8, 8), (4, 4)], "config": MSCSAConfig()}
    given |= changes
    with pytest.raises(ValueError, match="^" + re.escape(message)):
        mscsa_macs(**given) if count == "macs" else config_for_budget(**given, budget_macs=1e5)


@pytest.mark.parametrize("fixed", [["dept"], ["depth", "widht"], [1]])
def test_a_fixed_field_that_is_not_there(fixed):
    sizes = sizes_at((224, 224))
    with pytest.raises(ValueError, match="^fixed names .*: give some of depth, num_heads"):
        config_for_budget(CHANNELS["resnet18"], STRIDES, sizes, 0.19e9, MSCSAConfig(), fixed=fixed)


def test_a_budget_that_is_no_number():
    with pytest.raises(ValueError, match="^budget_macs='1e9' is not allowed"):
        config_for_budget(CHANNELS["resnet18"], STRIDES, sizes_at((224, 224)), "1e9", MSCSAConfig())
