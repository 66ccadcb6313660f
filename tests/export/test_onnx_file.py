"""A graph in the file of one format, with its metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.export import onnx_file
from tests.export.one_convolution import check_eight_bits, check_other_sizes_and_metadata, written


def test_it_runs_at_other_sizes_and_keeps_its_metadata(tmp_path: Path) -> None:
    check_other_sizes_and_metadata(written(onnx_file, tmp_path / "model.onnx"))


@pytest.mark.long
def test_eight_bits_are_close(tmp_path: Path) -> None:
    check_eight_bits(onnx_file, written(onnx_file, tmp_path / "model.onnx"))
