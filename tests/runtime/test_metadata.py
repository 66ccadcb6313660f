"""Metadata come back as they were written."""

from __future__ import annotations

import pytest

from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.metadata import Metadata
from tests.runtime.small_files import METADATA


def test_what_is_written_comes_back() -> None:
    assert Metadata.from_json(METADATA.to_json(), "a.onnx") == METADATA


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "does not say how it was made"), ("{", "cannot be read"), ('{"sizes": {}}', "cannot be read")],
)
def test_what_is_none_is_refused(text: str | None, said: str) -> None:
    with pytest.raises(ArtifactError, match=f"a.onnx.*{said}"):
        Metadata.from_json(text, "a.onnx")
