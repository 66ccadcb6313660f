"""The table of formats is that of what runs them."""

from __future__ import annotations

import pytest

from mscsa.errors import UserError
from mscsa.export import torch_file
from mscsa.export.formats import FORMATS, Format, find_format
from mscsa_runtime.backends import OPENERS


def test_each_format_is_written_and_run() -> None:
    assert {each.ending for each in FORMATS.values()} == set(OPENERS)
    for each in FORMATS.values():
        assert callable(each.load("write"))
        if each.has_int8:
            assert callable(each.load("quantize"))


def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(UserError, match=r"pip install 'mscsa\[export\]'"):
        Format("mscsa.export.torch_file", ".pt2", "no_such_package").load("write")


def test_what_a_package_cannot_write_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise RuntimeError("no such operation\nin this version")

    monkeypatch.setattr(torch_file, "write", write)
    with pytest.raises(UserError, match=r"torch cannot write this model as .pt2 \(no such operation in this"):
        FORMATS["torch_export"].call("write")


def test_what_a_writer_refuses_by_itself_stays_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*_: object) -> None:
        raise UserError("the file is not to be overwritten: give another")

    monkeypatch.setattr(torch_file, "write", write)
    with pytest.raises(UserError, match="^the file is not to be overwritten: give another$"):
        FORMATS["torch_export"].call("write")


@pytest.mark.parametrize("given", ["onx", None, ["onnx"]])
def test_an_unknown_format(given: object) -> None:
    with pytest.raises(UserError, match="^no format is called .*: (did you mean onnx|give one of onnx)"):
        find_format(given)  # type: ignore[arg-type]
