"""Files are opened by their ending, bad ones refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa_runtime.backends import OPENERS, open_file
from mscsa_runtime.errors import ArtifactError
from tests.runtime.small_files import METADATA, write_means


def test_metadata_are_in_the_file(tmp_path: Path) -> None:
    assert open_file(write_means(tmp_path / "model.onnx"), 1).metadata == METADATA.to_json()


@pytest.mark.parametrize("ending", OPENERS)
def test_damaged_files_are_refused(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    with pytest.raises(ArtifactError, match="no such file"):
        open_file(path)
    path.write_bytes(b"no model")
    with pytest.raises(ArtifactError, match="cannot be opened by") as caught:
        open_file(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_refused() -> None:
    with pytest.raises(ArtifactError, match=r"give a file that ends in \.onnx, \.xml, \.pt2"):
        open_file(Path("model.tflite"))
