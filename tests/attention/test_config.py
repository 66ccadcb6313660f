"""Every field of the configuration refuses what it cannot use, in one line."""

import dataclasses

import pytest

from mscsa.attention import MSCSAConfig
from mscsa.attention.config import CONFIG_FIELDS

REFUSED = {
    "depth": [0, -1, 1.0, True, "1", None],
    "num_heads": [0, 2.5, True],
    "head_dim": [0, -8, 24.0],
    "mlp_ratio": [0, -1, 17, "2", True, float("nan"), float("inf")],
    "squeeze_ratio": [0, 1.01, -0.5, None, float("nan")],
    "pool_stride": [0, 32.0, False],
    "downsampling": ["dwconv", None, ""],
    "parallel_conv": [1, 0, "yes", None],
    "intra_ffn": [1, "no"],
    "drop_path_rate": [-0.1, 1.0, "0", float("nan")],
    "init": ["zero", None],
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
