"""What a comparison's file says, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mscsa.hub.comparison import find_comparison, read_comparison
from tests.compare.made import BASE, result, write_finished
from tests.refusals import one_line_error

RECIPE = "scenes/mscsa_net"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """As `mscsa compare` writes it."""
    made = result(BASE, tuple(score + step for score, step in zip(BASE, (1, 2, 3, 1, 2, 3), strict=True)))
    return write_finished(tmp_path, made) / "compare.json"


def test_arms_and_verdict(file: Path) -> None:
    found = read_comparison(file, RECIPE)
    assert (found.seeds, found.test_images, found.score) == (6, 2000, "top1")
    baseline, mscsa = found.arms
    assert baseline == "| net | 72.50 ± 1.87 |  | 1.00 M | 0.000 G |  |"
    assert mscsa.startswith("| mscsa_net | 74.50 ± ") and "| +2.00 (+" in mscsa and "| +24.0 % |" in mscsa
    assert found.verdicts == [each for each in found.verdicts if each.startswith("MSCSA is better")]


def test_of_another_recipe_is_refused(file: Path) -> None:
    one_line_error(lambda: read_comparison(file, "scenes/other"), "the model is of recipe scenes/other")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"arms": 3}', '{"arms": {"baseline": {}}}'])
def test_what_is_no_comparison_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    one_line_error(lambda: read_comparison(tmp_path / "x.json", RECIPE), "no result of `mscsa compare`")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    one_line_error(lambda: read_comparison(tmp_path / "x.json", RECIPE), "give compare.json of the folder")


def test_a_run_of_a_comparison_finds_it(tmp_path: Path) -> None:
    run = tmp_path / "mscsa" / "seed0"
    run.mkdir(parents=True)
    assert find_comparison(run) is None
    (tmp_path / "compare.json").write_text(json.dumps({}))
    assert find_comparison(run) == tmp_path.resolve() / "compare.json"
