"""What each class is taken for, drawn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.pictures.confusion import draw_confusion


def blues(path: Path, matrix: np.ndarray) -> np.ndarray:
    draw_confusion(matrix, [f"class {i}" for i in range(len(matrix))], path)
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return (pixels == (8, 48, 107)).all(-1)  # the last colour of the map: 100 %


def test_a_perfect_classifier_is_a_diagonal(tmp_path: Path) -> None:
    right = np.hstack([7 * np.eye(3, dtype=np.int64), np.zeros((3, 1), np.int64)])
    wrong = right[:, [1, 2, 0, 3]]
    drawn = blues(tmp_path / "right.png", right)
    assert drawn.sum() > 3000
    assert (drawn != blues(tmp_path / "wrong.png", wrong)).sum() > 3000
    none = blues(tmp_path / "none.png", np.zeros((3, 4), np.int64))  # a class without images
    assert none.sum() < drawn.sum() / 2


@pytest.mark.parametrize("count", [2, 21, 41])
def test_any_number_of_classes_is_a_picture(tmp_path: Path, count: int) -> None:
    matrix = np.ones((count, count + 1), np.int64)
    draw_confusion(matrix, [str(i) for i in range(count)], tmp_path / "deep" / "x.png")
    assert Image.open(tmp_path / "deep" / "x.png").size[0] > 400
