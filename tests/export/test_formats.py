"""The table of formats is that of what runs them."""

from __future__ import annotations

import pytest

from mscsa.errors import UserError
from mscsa.export.formats import FORMATS, Format
from mscsa_runtime.backends import OPENERS


def test_each_format_is_written_and_run() -> None:
    assert {each.ending for each in FORMATS.values()} == set(OPENERS)
    for each in FORMATS.values():
        assert callable(each.load("write"))
        if each.has_int8:
            assert callable(each.load("quantize"))


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"pip install mscsa\[export\]"):
        Format("mscsa.export.torch_file", ".pt2", "no_such_package").load("write")
