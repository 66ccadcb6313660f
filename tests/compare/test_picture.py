"""The picture of a comparison."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image, ImageColor

from mscsa.compare.picture import COLORS, draw_comparison
from mscsa.neck_table import OTHER_NECKS
from tests.compare.made import result


@pytest.mark.parametrize(
    ("seeds", "with_control", "necks"),
    [(1, False, ()), (3, True, ()), (3, False, ("fpn",)), (3, True, OTHER_NECKS)],
)
def test_picture_of_one_and_more_seeds(
    tmp_path: Path, seeds: int, with_control: bool, necks: tuple[str, ...]
) -> None:
    path = tmp_path / "compare.png"
    control = (70.5, 73.0, 75.0)[:seeds] if with_control else None
    others = {neck: (72.0 + place, 73.5 + place, 74.2)[:seeds] for place, neck in enumerate(necks)}
    draw_comparison(
        result((70.0, 72.0, 74.0)[:seeds], (71.0, 74.0, 77.0)[:seeds], control, necks=others), path
    )
    with Image.open(path) as image:
        assert image.width >= 1000 and image.height >= 500
        colors = image.convert("RGB").getcolors(2**24)
    assert colors is not None
    drawn = {color for _, color in colors}
    for arm, color in COLORS.items():
        is_there = {"control": with_control}.get(arm, arm not in OTHER_NECKS or arm in necks)
        assert (ImageColor.getrgb(color) in drawn) == is_there, arm


@pytest.mark.parametrize("necks", [(), OTHER_NECKS])
def test_no_text_is_cut_off(tmp_path: Path, necks: tuple[str, ...]) -> None:
    """The margins of the picture are white, with the longest titles that there are."""
    path = tmp_path / "compare.png"
    scores = tuple(100.0 - i / 100 for i in range(6))
    draw_comparison(result(scores, scores, scores, necks=dict.fromkeys(necks, scores)), path)
    with Image.open(path) as image:
        grey = image.convert("L")
    edges = [grey.crop((0, 0, 2, grey.height)), grey.crop((grey.width - 2, 0, grey.width, grey.height))]
    assert [edge.getextrema() for edge in edges] == [(255, 255), (255, 255)]


def test_runs_that_were_evaluated_once_show_differences_in_place_of_curves(tmp_path: Path) -> None:
    made = result((70.0, 71.0, 72.0), (75.0, 76.0, 78.0), (71.0, 72.0, 72.5))
    once = {
        name: replace(arm, curves=tuple(curve[-1:] for curve in arm.curves))
        for name, arm in made.arms.items()
    }
    paths = tmp_path / "curves.png", tmp_path / "differences.png"
    draw_comparison(made, paths[0])
    draw_comparison(replace(made, arms=once), paths[1])
    with Image.open(paths[0]) as curves, Image.open(paths[1]) as differences:
        assert curves.size == differences.size
        left = (0, 0, curves.width // 2, curves.height)
        assert curves.crop(left).tobytes() != differences.crop(left).tobytes()
