"""`mscsa predict` with an exported model, and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml  # type: ignore[import-untyped]
from PIL import Image

from tests.cli.running import run
from tests.export.compared import check_that_it_is_the_model
from tests.export.small_exports import save
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
    code, _, err = run(capsys, "predict", str(tmp_path / "a.mp4"), *files[1:])
    assert code == 2 and "is a video, which an exported classifier does not take" in err
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


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "size", "is_int8", "format"),
    [
        ("classifier", "64", False, "onnx"),
        ("classifier", "64", True, "onnx"),
        ("classifier", "64", True, "openvino"),
        ("semantic_fpn", "64x96", False, "torch_export"),
        ("semantic_fpn", "64x96", True, "onnx"),
        ("mask_rcnn", "64x96", False, "onnx"),
        ("retinanet", "64x96", True, "openvino"),
        ("deformable_detr", "64x96", False, "openvino"),
    ],
)
def test_an_export_is_scored_and_asked_in_the_place_of_its_run(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, name: str, size: str, is_int8: bool, format: str
) -> None:
    weights, out = save(name, tmp_path), tmp_path / "exported"
    photograph = np.random.default_rng(0).integers(0, 256, (80, 100, 3), dtype=np.uint8)
    (tmp_path / "images").mkdir()
    Image.fromarray(photograph).save(tmp_path / "images" / "a.png")
    # An untrained model's score says nothing about 8 bits, whose loss is allowed here.
    options = ["--int8", str(tmp_path / "images"), "--max-loss", "100"] if is_int8 else []
    options += ["--size", size, "--format", format, "--check"]
    code, shown, err = run(capsys, "export", str(weights), "--out", str(out), *options)
    assert (code, err) == (0, "") and "largest difference, images" in shown
    assert ("int8" if is_int8 else "float32") in shown and "model and artifact" in shown
    assert ("that 8 bits lose" in shown) == is_int8
    scores = []
    for each in (weights, out):
        result = tmp_path / f"{each.name}.json"
        code, _, err = run(capsys, "eval", str(each), "--device", "cpu", "--json", str(result))
        assert (code, err) == (0, "")
        found = json.loads(result.read_text())
        scores.append({key: value for key, value in found.items() if isinstance(value, float)})
    assert scores[0] and scores[0].keys() == scores[1].keys()
    if name in ("classifier", "semantic_fpn") and not is_int8:
        assert scores[0] == pytest.approx(scores[1], abs=0.5)
    pictures = [] if name == "classifier" else ["--out", str(tmp_path / "pictures")]
    code, shown, err = run(
        capsys, "predict", str(tmp_path / "images" / "a.png"), "--checkpoint", str(out), *pictures
    )
    assert (code, err) == (0, "") and "a.png" in shown


@pytest.mark.long
def test_the_maps_of_a_pyramid_are_exported(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    weights, out = save("semantic_fpn", tmp_path), tmp_path / "exported"
    code, shown, err = run(capsys, "export", str(weights), "--out", str(out), "--maps", "--size", "64x96")
    assert (code, err) == (0, "") and "Exported: pyramid" in shown and "sides of 64 px and more" in shown
    check_that_it_is_the_model(weights, out)
    for command in (["eval", str(out)], ["predict", str(weights), "--checkpoint", str(out)]):
        code, _, err = run(capsys, *command)
        assert code == 2 and err.startswith("error: ") and err.count("\n") == 1
