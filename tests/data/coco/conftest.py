"""A sound COCO data set to spoil."""

from pathlib import Path

import pytest

from tests.data.coco.coco_sets import Made, make


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return make(tmp_path / "data")
