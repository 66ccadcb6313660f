"""One label map: read as indices of classes, and refused where it holds something else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.data.label_maps.labels import BadLabels, check_labels, read_labels

LABELS = np.array([[0, 1, 2], [255, 2, 0]], np.uint8)


@pytest.mark.parametrize("mode", ["L", "P"])
def test_indices_are_read_as_they_are(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(LABELS)
    if mode == "P":
        image.putpalette(list(range(256)) * 3)  # whatever colours stand for the indices
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == mode
    assert np.array_equal(read_labels(tmp_path / "a.png", "masks"), LABELS)


def test_ade20k_ignores_zero_and_counts_from_one(tmp_path: Path) -> None:
    Image.fromarray(LABELS + np.uint8(1)).save(tmp_path / "a.png")  # 255 + 1 wraps to 0
    assert np.array_equal(read_labels(tmp_path / "a.png", "ade20k"), LABELS)


def test_what_holds_no_indices_is_refused(tmp_path: Path) -> None:
    Image.fromarray(LABELS).convert("RGB").save(tmp_path / "colours.png")
    Image.fromarray(LABELS.astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(LABELS).save(tmp_path / "photo.jpg")
    (tmp_path / "photo.jpg").rename(tmp_path / "photo.png")
    (tmp_path / "empty.png").write_bytes(b"")
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:60])
    for name, what in (
        ("colours", "mode RGB: colours or deep grey instead of 8-bit class indices"),
        ("deep", "mode I;16: colours or deep grey"),
        ("photo", "not a PNG"),
        ("empty", "not a PNG"),
        ("cut", "damaged or truncated"),
        ("gone", "no such file"),
    ):
        with pytest.raises(BadLabels) as caught:
            read_labels(tmp_path / f"{name}.png", "masks")
        assert caught.value.what.startswith(what) and caught.value.remedy


def test_labels_must_fit_image_and_classes() -> None:
    check_labels(LABELS, (3, 2), 3)
    with pytest.raises(BadLabels, match="3x2 px, its image has 2x3"):
        check_labels(LABELS, (2, 3), 3)
    with pytest.raises(BadLabels, match=r"label 2 at pixel x=2, y=0 \(2 such pixels\), of 2") as caught:
        check_labels(LABELS, (3, 2), 2)
    assert caught.value.remedy == "use 0 to 1, or 255 for pixels to ignore"
