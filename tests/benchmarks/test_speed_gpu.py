"""What the file of the benchmark on a GPU says, and of which commit."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import speed_gpu

ROW = speed_gpu.Row(
    name="resnet18",
    head=None,
    form="float32",
    batch_size=1,
    time_ratio=1.5,
    time_ratio_range=(1.4, 1.6),
    p50_ms=(1.0, 1.5),
    p95_ms=(1.1, 1.6),
    images_per_s=(1000.0, 667.0),
    rounds=5,
)


@pytest.mark.parametrize(("found", "commit"), [("a" * 40, "a" * 40), (None, "b" * 40)])
def test_the_file_has_the_rows_and_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: str | None, commit: str
) -> None:
    """The repository's own, or where there is none the one that is given."""
    path = tmp_path / "speed.json"
    monkeypatch.setattr(speed_gpu, "git_commit", lambda: found)
    monkeypatch.setattr(speed_gpu, "describe_machine", lambda _: {"device": "a GPU"})
    monkeypatch.setattr(speed_gpu, "machine_line", lambda machine: machine["device"])
    monkeypatch.setattr(speed_gpu, "planned", lambda _: [("table_6", lambda: iter([ROW]))])
    command = ["speed_gpu.py", "--processes", "0", "--commit", "b" * 40, "--json", str(path)]
    monkeypatch.setattr(sys, "argv", command)
    speed_gpu.main()
    written = json.loads(path.read_text())
    assert written["commit"] == commit and written["machine"] == {"device": "a GPU"}
    assert [row["name"] for row in written["table_6"]] == ["resnet18"] and written["table_2"] == []
