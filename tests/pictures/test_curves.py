"""The curves of a run are a picture of its metrics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mscsa.pictures.curves import draw_curves


def pixels(path: Path, rows: list[dict[str, str]]) -> np.ndarray:
    draw_curves(rows, path, score="val_top1", label="top-1")
    return np.asarray(Image.open(path).convert("RGB"))


def test_loss_and_score_are_drawn_side_by_side(tmp_path: Path) -> None:
    steps = [{"epoch": str(i), "train_loss": str(3 - i / 5), "val_top1": ""} for i in range(1, 5)]
    scores = [{"epoch": str(i), "train_loss": "", "val_top1": str(10 * i)} for i in range(1, 5)]
    both = pixels(tmp_path / "both.png", steps + scores)
    assert both.shape == (360, 960, 3)
    without_scores = pixels(tmp_path / "steps.png", steps)
    without_losses = pixels(tmp_path / "scores.png", scores)
    line = (31, 119, 180)  # matplotlib's first colour
    halves = {
        name: [(half == line).all(-1).sum() > 50 for half in (picture[:, :480], picture[:, 480:])]
        for name, picture in (("both", both), ("steps", without_scores), ("scores", without_losses))
    }
    assert halves == {"both": [True, True], "steps": [True, False], "scores": [False, True]}


def test_a_run_without_a_row_is_an_empty_picture(tmp_path: Path) -> None:
    assert pixels(tmp_path / "none.png", []).shape == (360, 960, 3)
