"""Closed forms against torch's counter, and budgets met by every neck."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mscsa.macs import run_and_count
from mscsa.neck_table import NECKS
from mscsa.necks.build import build_neck, neck_config
from mscsa.necks.cost import neck_config_for_budget, neck_macs
from tests.necks.pyramids import CHANNELS, SMALL, STRIDES, counted_sizes, on_meta, sizes_at

every_neck = pytest.mark.parametrize("name", NECKS)
WIDE = ((64, 128, 320, 512), (4, 8, 16, 32))

OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("mscsa", {}),
    ("fpn", {"norm": "bn"}),
    ("pafpn", {"norm": "none"}),
    ("bifpn", {"depth": 1}),
    ("bifpn", {"channels": 12}),  # the width of a stage
    ("topformer", {"pool_stride": 64, "mlp_ratio": 1.5, "depth": 1}),
    ("topformer", {"pool_stride": 16, "squeeze_ratio": 0.4}),
]


def counted(name: str, levels: int, sizes: list[tuple[int, int]], config: Any, out_levels: Any) -> int:
    neck = build_neck(name, CHANNELS[:levels], STRIDES[:levels], config, out_levels=out_levels)
    neck.to("meta").eval()
    return run_and_count(lambda: neck(on_meta(sizes)))[1]


@every_neck
@pytest.mark.parametrize("sizes", counted_sizes(), ids=str)
@pytest.mark.parametrize("out_levels", [None, [0], [3, 1], [2]])
def test_closed_form_equals_the_counter(
    name: str, sizes: list[tuple[int, int]], out_levels: list[int] | None
) -> None:
    expected = counted(name, 4, sizes, SMALL[name], out_levels)
    assert neck_macs(name, CHANNELS[:4], STRIDES[:4], sizes, SMALL[name], out_levels) == expected


@every_neck
@pytest.mark.parametrize("levels", [2, 3, 5])
def test_closed_form_equals_the_counter_with_any_number_of_levels(name: str, levels: int) -> None:
    sizes = sizes_at((97, 131), levels)
    expected = counted(name, levels, sizes, SMALL[name], None)
    assert neck_macs(name, CHANNELS[:levels], STRIDES[:levels], sizes, SMALL[name]) == expected


@pytest.mark.parametrize(("name", "fields"), OPTIONS)
def test_closed_form_equals_the_counter_with_other_options(name: str, fields: dict[str, Any]) -> None:
    sizes, config = sizes_at((97, 131)), {**SMALL[name], **fields}
    expected = counted(name, 4, sizes, config, None)
    assert neck_macs(name, CHANNELS[:4], STRIDES[:4], sizes, config) == expected


@pytest.mark.parametrize("name", ["pafpn", "bifpn", "fpn"])
def test_closed_form_equals_the_counter_at_a_jump_of_4(name: str) -> None:
    sizes, channels, strides = [(25, 17), (25, 17), (7, 5)], [4, 6, 8], [8, 8, 32]
    neck = build_neck(name, channels, strides, SMALL[name]).to("meta").eval()
    maps = [x[:, :1].expand(-1, c, -1, -1) for x, c in zip(on_meta(sizes), channels, strict=True)]
    assert run_and_count(lambda: neck(maps))[1] == neck_macs(name, channels, strides, sizes, SMALL[name])


def test_known_costs() -> None:
    """FPN-256 of a ResNet-50 at 800x1280, by hand: 3840 * 256 / 4^i and 9 * 256^2 on each level."""
    sizes, channels = sizes_at((800, 1280)), (256, 512, 1024, 2048)
    pixels = [64000, 16000, 4000, 1000]
    expected = sum((c * 256 + 9 * 256**2) * n for c, n in zip(channels, pixels, strict=True))
    assert neck_macs("fpn", channels, STRIDES[:4], sizes) == expected


@every_neck
@pytest.mark.parametrize("budget", [0.05e9, 0.25e9, 1e9])
@pytest.mark.parametrize("out_levels", [None, [1, 2, 3]])
def test_a_budget_is_met(name: str, budget: float, out_levels: list[int] | None) -> None:
    sizes = sizes_at((224, 224))
    config = neck_config_for_budget(name, *WIDE, sizes, budget, out_levels=out_levels)
    assert 0.9 * budget <= neck_macs(name, *WIDE, sizes, config, out_levels) <= budget


@pytest.mark.parametrize("name", [name for name in NECKS if name != "mscsa"])
def test_a_budget_keeps_what_is_fixed(name: str) -> None:
    sizes = sizes_at((224, 224))
    start = neck_config(name, SMALL[name])
    size_fields = [field for field in ("depth", "squeeze_ratio") if hasattr(start, field)]
    config = neck_config_for_budget(name, *WIDE, sizes, 0.6e9, start, fixed=size_fields)
    assert config == replace(start, channels=config.channels)
    same = neck_macs(name, *WIDE, sizes, config)
    assert neck_config_for_budget(name, *WIDE, sizes, same, config, fixed=list(SMALL[name])) == config


def test_topformers_blocks_leave_half_of_a_budget_to_the_injection() -> None:
    """One block of unsqueezed tokens costs 0.32 GMACs."""
    sizes = sizes_at((512, 512))
    chosen = []
    for budget in (0.1e9, 0.6e9, 0.7e9, 1.6e9, 4e9):
        config = neck_config_for_budget("topformer", *WIDE, sizes, budget)
        chosen.append((config.depth, config.squeeze_ratio))
        almost_alone = neck_macs("topformer", *WIDE, sizes, replace(config, channels=1), [3])
        assert 0.2 * budget < almost_alone <= 0.51 * budget
    assert chosen == [(1, chosen[0][1]), (1, chosen[1][1]), (1, 1.0), (2, 1.0), (4, 1.0)]
    assert chosen[0][1] < chosen[1][1] < 1


@every_neck
def test_an_impossible_budget_is_one_line_with_the_nearest(name: str) -> None:
    with pytest.raises(
        ValueError, match=r"^no .* fits a budget of .* the nearest cost .* GMACs; give"
    ) as caught:
        neck_config_for_budget(name, *WIDE, sizes_at((224, 224)), 1e3)
    assert "\n" not in str(caught.value)


@every_neck
def test_a_fixed_field_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match="^fixed names width: give some of ") as caught:
        neck_config_for_budget(name, *WIDE, sizes_at((224, 224)), 1e9, fixed=["width"])
    assert "\n" not in str(caught.value)


@every_neck
def test_a_budget_that_is_no_number(name: str) -> None:
    with pytest.raises(ValueError, match="^budget_macs=None is not allowed: give a number in"):
        neck_config_for_budget(name, *WIDE, sizes_at((224, 224)), None)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["mscsa", "topformer"])
def test_tokens_finer_than_the_finest_stage(name: str) -> None:
    for call in (
        lambda: neck_macs(name, *WIDE, sizes_at((224, 224)), {"pool_stride": 2}),
        lambda: neck_config_for_budget(name, *WIDE, sizes_at((224, 224)), 1e9, {"pool_stride": 2}),
    ):
        with pytest.raises(ValueError, match="^pool_stride=2 is finer than the finest stage: give 4"):
            call()
