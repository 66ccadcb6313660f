"""Necks by their name."""

from __future__ import annotations

import pytest

from mscsa.attention.config import MSCSAConfig
from mscsa.attention.fusion import MSCSANeck
from mscsa.necks.build import build_neck, load_neck, neck_config
from mscsa.necks.fpn import FPN, FPNConfig
from tests.refusals import one_line_error


def test_a_neck_is_built_by_its_name() -> None:
    fpn = build_neck("fpn", [4, 6], [8, 16], {"channels": 3}, out_levels=[1])
    assert isinstance(fpn, FPN) and fpn.config == FPNConfig(channels=3)
    assert fpn.out_levels == (1,) and fpn.out_channels == (3,)
    assert isinstance(build_neck("mscsa", [4, 6], [8, 16]), MSCSANeck)


def test_a_configuration_by_its_necks_name() -> None:
    own = FPNConfig(channels=5)
    assert neck_config("fpn", own) is own
    assert neck_config("fpn") == FPNConfig() and neck_config("mscsa", {"depth": 2}) == MSCSAConfig(depth=2)
    with pytest.raises(
        ValueError, match=r"^config=MSCSAConfig\(.* is not allowed: give FPNConfig\(\.\.\.\) or"
    ):
        neck_config("fpn", MSCSAConfig())


def test_an_unknown_name_is_one_line() -> None:
    for call in (load_neck, neck_config, lambda name: build_neck(name, [4, 6], [8, 16])):
        one_line_error(lambda call=call: call("panet"), "^no neck is called 'panet'")  # type: ignore[misc]
