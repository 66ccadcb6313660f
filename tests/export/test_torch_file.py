"""A graph in the file of one format, with its metadata."""

from __future__ import annotations

from pathlib import Path

from mscsa.export import torch_file
from tests.export.one_convolution import check_other_sizes_and_metadata, written


def test_it_runs_at_other_sizes_and_keeps_its_metadata(tmp_path: Path) -> None:
    check_other_sizes_and_metadata(written(torch_file, tmp_path / "model.pt2"))
