"""The table of necks, and that reading it loads nothing heavy of its own."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, is_dataclass

import pytest

from mscsa.neck_table import NECKS, find_neck
from mscsa.necks.neck import NeckKind
from tests.refusals import one_line_error


def test_mscsa_is_a_row_among_the_others() -> None:
    assert {"mscsa", "fpn", "pafpn", "bifpn", "topformer"} <= set(NECKS)
    assert [name for name, entry in NECKS.items() if entry.keeps_channels] == ["mscsa"]


@pytest.mark.parametrize("name", NECKS)
def test_every_row_loads_and_its_configuration_is_frozen(name: str) -> None:
    kind = find_neck(name).load()
    assert isinstance(kind, NeckKind)
    config = kind.config()
    assert is_dataclass(config)
    assert ("channels" in {f.name for f in fields(config)}) == (not NECKS[name].keeps_channels)
    with pytest.raises(FrozenInstanceError):
        setattr(config, fields(config)[0].name, 3)


def test_an_unknown_neck_is_one_line_with_the_nearest() -> None:
    one_line_error(lambda: find_neck("bi_fpn"), "^no neck is called 'bi_fpn': did you mean")
    one_line_error(lambda: find_neck("zzz"), "^no neck is called 'zzz': give one of mscsa, fpn")
    for given in (None, ["fpn"]):
        one_line_error(lambda given=given: find_neck(given), "^no neck is called .*: give one of mscsa, fpn")
