"""What `mscsa show-data` prints and draws."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from mscsa.recipes import RECIPES
from mscsa_cli.shown_data import anchor_sides
from tests.cli.running import run
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import write_label_maps
from tests.evaluation.untrained import DETECTOR, OBJECTS, save_untrained


def test_a_set_of_objects(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root, out = write_coco(tmp_path / "coco"), tmp_path / "sheet.png"
    code, text, _ = run(capsys, "show-data", str(root), "--count", "2", "--out", str(out))
    assert code == 0 and text.endswith(f"pictures: {out}\n")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "bar 3 3 3 3" in lines and "never 0 0 0 0" in lines
    assert "anchors of retinanet have sides of 12 to 305 px" in text
    with Image.open(out) as sheet:
        assert sheet.width > sheet.height
    code, _, error = run(capsys, "show-data", str(root), "--out", str(out))
    assert code == 2 and "sheet.png is there already" in error


def test_label_maps_and_a_recipe_of_another_task(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = write_label_maps(tmp_path / "maps")
    code, text, _ = run(capsys, "show-data", str(root), "--count", "1", "--out", str(tmp_path / "a.png"))
    assert code == 0 and "road" in text and "anchors" not in text
    argv = ("show-data", str(root), "--recipe", "small_retinanet/resnet18", "--out", str(tmp_path / "b.png"))
    code, _, error = run(capsys, *argv)
    assert code == 2 and "holds images with label maps" in error and error.count("\n") == 1


def test_a_run_has_its_own_recipe(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    checkpoint = save_untrained(tmp_path / "best.safetensors", DETECTOR, OBJECTS)
    argv = ("show-data", str(checkpoint), "--count", "1", "--out", str(tmp_path / "a.png"))
    assert run(capsys, *argv)[0] == 0
    code, _, error = run(capsys, *argv[:-1], str(tmp_path / "b.png"), "--recipe", "small_retinanet/resnet18")
    assert code == 2 and "has its own recipe: leave --recipe out" in error
    code, _, error = run(capsys, *argv, "--worst", "0")
    assert code == 2 and "give 1 or more" in error


def test_anchors_are_those_of_the_detector() -> None:
    sides = anchor_sides(RECIPES["small_retinanet/resnet18"].model, 3)
    assert sides is not None and sides.shape == (45, 2)  # five levels, three sizes, three ratios
    assert sides.prod(axis=1).min() ** 0.5 == pytest.approx(1.5 * 8)
    assert anchor_sides(RECIPES["scenes_deformable_detr/resnet10t"].model, 3) is None
