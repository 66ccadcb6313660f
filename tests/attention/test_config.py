"""Every field of the configuration refuses what it cannot use, in one line."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from mscsa.attention import MSCSAConfig
from mscsa.attention.config import (
    CONFIG_FIELDS,
    check_budget,
    check_fixed,
    config_of,
    map_sizes,
    whole_numbers,
)

REFUSED = {
    "depth": [0, -1, 1.0, True, "1", None],
    "num_heads": [0, 2.5, True],
    "head_dim": [0, -8, 24.0],
    "mlp_ratio": [0, -1, 17, "2", True, float("nan"), float("inf")],
    "squeeze_ratio": [0, 1.01, -0.5, None, float("nan")],
    "pool_stride": [0, 32.0, False],
    "downsampling": ["dwconv", None, "", ["none"]],
    "parallel_conv": [1, 0, "yes", None],
    "intra_ffn": [1, "no"],
    "drop_path_rate": [-0.1, 1.0, "0", float("nan")],
    "gate_scale": [0, -1.0, 4.1, "2", None],
    "init": ["zero", None, ["average"], {}],
}


def test_every_field_is_covered():
    assert set(REFUSED) == set(CONFIG_FIELDS)


@pytest.mark.parametrize(("field", "value"), [(f, v) for f, values in REFUSED.items() for v in values])
def test_refused_with_field_value_and_range(field, value):
    with pytest.raises(ValueError) as caught:
        MSCSAConfig(**{field: value})
    message = str(caught.value)
    assert message.startswith(f"{field}={value!r} is not allowed: give ")
    assert "\n" not in message


@pytest.mark.parametrize(
    "fields",
    [
        {"mlp_ratio": 2},
        {"squeeze_ratio": 1},
        {"mlp_ratio": 16},
        {"drop_path_rate": 0},
        {"drop_path_rate": 0.99},
        {"squeeze_ratio": 0.01, "depth": 1, "num_heads": 1, "head_dim": 1, "pool_stride": 1},
    ],
)
def test_the_ends_of_the_ranges_are_allowed(fields):
    MSCSAConfig(**fields)


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        MSCSAConfig().depth = 2  # type: ignore[misc]


def test_numbers_of_other_libraries_become_pythons_own():
    config = MSCSAConfig(
        num_heads=np.int64(2),
        head_dim=np.uint8(8),
        depth=torch.tensor(3),
        mlp_ratio=np.float32(1.5),
        drop_path_rate=np.float64(0.25),
        squeeze_ratio=1,
    )
    assert config == MSCSAConfig(num_heads=2, head_dim=8, depth=3, mlp_ratio=1.5, drop_path_rate=0.25)
    types = {name: type(getattr(config, name)) for name in ("num_heads", "head_dim", "depth", "mlp_ratio")}
    assert types == {"num_heads": int, "head_dim": int, "depth": int, "mlp_ratio": float}
    assert json.loads(json.dumps(dataclasses.asdict(config)))["head_dim"] == 8


def test_config_of_what_a_constructor_takes():
    own = MSCSAConfig(depth=2)
    assert config_of(own) is own
    assert config_of(None) == config_of({}) == MSCSAConfig()
    assert config_of({"depth": 2}) == own
    assert config_of({"depth": 2, "channels": [8, 16], "strides": [4, 8], "out_levels": None}) == own


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (8, "config=8 is not allowed: give MSCSAConfig(...) or a mapping of its fields"),
        ("depth", "config='depth' is not allowed: give"),
        (
            {"heads": 4, 1: 2},
            "config names heads, 1, which MSCSA does not have: give some of depth, num_heads",
        ),
        ({"depth": 0}, "depth=0 is not allowed: give a whole number >= 1"),
    ],
)
def test_what_is_no_config_is_refused_in_one_line(config, message):
    with pytest.raises(ValueError) as caught:
        config_of(config)
    assert str(caught.value).startswith(message) and "\n" not in str(caught.value)


def test_whole_numbers():
    for values in (
        np.array([8, 16]),
        [np.int64(8), np.uint8(16)],
        (8, 16),
        torch.tensor([8, 16]),
        iter([8, 16]),
    ):
        numbers = whole_numbers("channels", values)
        assert numbers == (8, 16) and all(type(number) is int for number in numbers)
    for values, message in [
        ([8, 0], r"channels\[1\]=0 is not allowed: give a whole number >= 1"),
        ([8.0], r"channels\[0\]=8.0 is not allowed"),
        ([True], r"channels\[0\]=True is not allowed"),
        (8, "channels=8 is not allowed: give one whole number for each stage"),
        (np.array(8), r"channels=array\(8\) is not allowed: give one whole number for each stage"),
        (np.array([8.0]), r"channels\[0\]=np.float64\(8.0\) is not allowed"),
        (np.full((2, 2, 2), 8), r"channels\[0\]=array\(.* is not allowed"),
        (None, "channels=None is not allowed"),
        ({8, 16}, "channels=.* is not allowed: give one"),
        ({8: 16}, "channels={8: 16} is not allowed: give one"),
        ("816", "channels='816' is not allowed: give one"),
        (b"816", "channels=b'816' is not allowed: give one"),
    ]:
        with pytest.raises(ValueError, match=f"^{message}") as caught:
            whole_numbers("channels", values)
        assert "\n" not in str(caught.value)


def test_sizes_of_maps():
    assert map_sizes([[8, np.int64(6)], torch.Size([4, 3])], 2) == ((8, 6), (4, 3))
    for sizes, message in [
        (None, "sizes=None is not allowed: give one (H, W) for each of 2 stages"),
        ([(8, 8)], "sizes=[(8, 8)] is not allowed: give one (H, W)"),
        (np.array(8), "sizes=array(8) is not allowed: give one (H, W)"),
        ([np.array(8), (4, 4)], "sizes=[array(8), (4, 4)] is not allowed: give one (H, W)"),
        ([8, 4], "sizes=[8, 4] is not allowed: give one (H, W)"),
        ([(8, 8, 8), (4, 4)], "sizes=[(8, 8, 8), (4, 4)] is not allowed"),
        ([(8, 8), (4, 0.5)], "sizes[1][1]=0.5 is not allowed: give a whole number >= 1"),
    ]:
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            map_sizes(sizes, 2)


def test_what_a_search_for_a_budget_is_given():
    check_fixed(["depth", "init"], MSCSAConfig)
    with pytest.raises(ValueError, match="^fixed names dept, 1: give some of depth, num_heads"):
        check_fixed(["dept", 1], MSCSAConfig)
    check_budget(1e9)
    for budget in (None, "1", 0, -1, True, float("nan")):
        with pytest.raises(ValueError, match="^budget_macs=.* is not allowed: give a number in"):
            check_budget(budget)
