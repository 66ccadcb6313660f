"""A small classifier, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.export import Exported, export_checkpoint
from tests.export.small_exports import save


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save("classifier", tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="session")
def exported(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """With any size and batch, and compared on its validation set; `torch_export` is written fastest."""
    return export_checkpoint(checkpoint, tmp_path_factory.mktemp("exported"), format="torch_export", check={})
