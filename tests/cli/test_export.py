"""`mscsa export`: what it asks for reaches the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mscsa_runtime.metadata import Sizes
from tests.cli.running import run
from tests.evaluation.untrained import CLASSES, CLASSIFIER, save_untrained


def test_options_become_arguments(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mscsa.export
    from mscsa.export import Exported
    from tests.runtime.small_files import METADATA

    given: dict[str, Any] = {}

    def stand_in(checkpoint: str, out: str, **options: Any) -> Exported:
        given.update(options)
        return Exported(path=Path(out) / "model.onnx", metadata=METADATA, difference=1e-7)

    monkeypatch.setattr(mscsa.export, "export_checkpoint", stand_in)
    weights = save_untrained(tmp_path / "best.safetensors", CLASSIFIER, CLASSES)
    code, out, err = run(capsys, "export", str(weights), "--out", "o", "--size", "64x96", "--check", "data")
    assert (code, err) == (0, "") and "any batch, 8x8" in out and str(Sizes(height=8, width=8)) == "8x8"
    assert given["size"] == (64, 96) and given["check"] == {"root": "data", "kind": "folder"}
    assert (given["format"], given["is_fixed"], given["int8"]) == ("onnx", False, None)
    run(capsys, "export", str(weights), "--out", "o")
    assert given["check"] is None and given["size"] is None
