"""A small data set of images and label maps."""

from pathlib import Path

import pytest

from tests.data.label_maps.label_map_folder import write_label_maps


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """ROOT/{images,labels}/{train,val}/im{0..3}.png and ROOT/classes.txt."""
    return write_label_maps(tmp_path / "masks")
