"""Files are opened by their ending, bad ones refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mscsa_runtime.backends import OPENERS, open_file
from mscsa_runtime.errors import ArtifactError
from tests.runtime.small_files import METADATA, write_means, write_means_for_openvino


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


@pytest.mark.parametrize("write", [write_means, write_means_for_openvino])
def test_threads_get_their_own_answers(tmp_path: Path, write: Callable[[Path], Path]) -> None:
    model = open_file(write(tmp_path / "model.onnx"), 1)

    def is_own(value: int) -> bool:
        (found,) = model.run({"images": np.full((2, 3, 8, 8), value, np.float32)})
        return bool((found == value).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(is_own, range(400)))
