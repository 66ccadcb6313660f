"""A graph in the file of one format, with its metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.export import openvino_file
from tests.export.one_convolution import check_eight_bits, check_other_sizes_and_metadata, written


@pytest.mark.slow
def test_it_runs_at_other_sizes_and_keeps_its_metadata(tmp_path: Path) -> None:
    check_other_sizes_and_metadata(written(openvino_file, tmp_path / "model.xml"))


@pytest.mark.long
def test_eight_bits_are_close(tmp_path: Path) -> None:
    check_eight_bits(openvino_file, written(openvino_file, tmp_path / "model.xml"))
