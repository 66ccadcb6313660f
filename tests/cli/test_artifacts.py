"""`mscsa predict` with an exported model, and without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from PIL import Image

from tests.cli.running import run
from tests.runtime.small_files import write_means

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    write_means(tmp_path / "model.onnx")
    Image.new("RGB", (20, 10), "lime").save(tmp_path / "a.png")
    return [str(tmp_path / "a.png"), "--checkpoint", str(tmp_path)]


def test_classes_are_printed_and_written(
    capsys: pytest.CaptureFixture[str], files: list[str], tmp_path: Path
) -> None:
    result = tmp_path / "found.json"
    code, out, err = run(capsys, "predict", *files, "--top-k", "1", "--json", str(result))
    assert (code, err) == (0, "") and out.split()[-3:] == ["green", "57.6", "%"]
    assert yaml.safe_load(result.read_text())[0]["classes"][0][0] == "green"
    code, _, err = run(capsys, "predict", str(tmp_path / "none.png"), *files[1:])
    assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
    code, _, err = run(capsys, "predict", *files, "--json", str(tmp_path / "a.png" / "found.json"))
    assert code == 2 and "cannot write" in err and err.count("\n") == 1
    code, _, err = run(capsys, "predict", *files, "--device", "gpu")
    assert code == 2 and "runs on the CPU here" in err


def test_torch_is_not_imported(files: list[str]) -> None:
    script = f"import sys, mscsa_cli; mscsa_cli.main(['predict', *{files}]); print(*sorted(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = done.stdout.splitlines()[-1].split()
    assert "onnxruntime" in loaded and not {"torch", "mscsa", "timm"} & set(loaded)


def test_a_model_without_a_task_for_eval_is_refused(
    capsys: pytest.CaptureFixture[str], files: list[str]
) -> None:
    code, _, err = run(capsys, "eval", files[-1])
    assert code == 2 and "has no score: give a trained model's" in err
