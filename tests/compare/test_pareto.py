"""Arms by score and cost, and those that none beats."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from mscsa.compare.pareto import ArmPoint, Cost, draw_pareto, pareto_front, pareto_table, read_finished
from mscsa.errors import UserError
from tests.compare.made import BASE, result, write_finished

BETTER = (72.0, 73.5, 74.0, 75.5, 76.0, 77.5)
WIDER = tuple(each + 1 for each in BASE)


def point(score: float, macs: float, ms: float | None = None) -> ArmPoint:
    costs: dict[Cost, float | None] = {"macs": macs, "parameters": 1.0, "ms": ms}
    return ArmPoint(arm="mscsa", model="net", score=score, std=None, costs=costs)


def test_the_front_is_what_none_beats() -> None:
    cheap, worse, twin, good, dear = point(1, 1), point(0.5, 2), point(1, 1), point(3, 4), point(2, 5)
    assert pareto_front([dear, good, worse, cheap, twin], "macs") == [cheap, twin, good]
    assert pareto_front([dear, good, worse], "parameters") == [good]
    assert pareto_front([cheap], "ms") == []
    better = point(2, 1)
    assert pareto_front([cheap, better, good], "macs") == [better, good]


def test_a_file_is_read_as_it_was_written(tmp_path: Path) -> None:
    compared = result(BASE, BETTER, WIDER)
    folder = write_finished(tmp_path / "one", compared)
    (finished,) = read_finished([folder])
    assert (finished.recipe, finished.metric_label) == ("scenes/mscsa_net", "top-1")
    assert (finished.num_seeds, finished.num_images, finished.input_size) == (6, 2000, (64, 64))
    for found, (name, arm) in zip(finished.points, compared.arms.items(), strict=True):
        assert (found.arm, found.model, found.score, found.std) == (name, arm.model, arm.mean, arm.std)
        assert found.costs == {
            "macs": arm.macs,
            "parameters": arm.parameters,
            "ms": 2.0 + (name != "baseline"),
        }
    assert len(finished.verdicts) == 2 and finished.verdicts[0].startswith("MSCSA is better")


def test_folders_and_files_are_each_read_once(tmp_path: Path) -> None:
    one = write_finished(tmp_path / "one", result(BASE, BETTER))
    two = write_finished(tmp_path / "two", result(BASE, BETTER))
    (tmp_path / "three.json").write_bytes((one / "compare.json").read_bytes())
    (tmp_path / "other.json").write_text('{"arms": 1}')
    found = read_finished([two, tmp_path, one / "compare.json"])
    names = [f"{name}/compare.json" for name in ("two", "one")] + ["three.json"]
    assert [str(each.path.relative_to(tmp_path)) for each in found] == names


def test_what_is_no_comparison_is_refused(tmp_path: Path) -> None:
    for name, text in (("broken.json", "{"), ("list.json", "[]"), ("empty.json", "{}")):
        (tmp_path / name).write_text(text)
        with pytest.raises(UserError, match=f"{name} is no result of `mscsa compare`"):
            read_finished([tmp_path / name])
    content = json.loads(
        (write_finished(tmp_path / "one", result(BASE, BETTER)) / "compare.json").read_text()
    )
    (tmp_path / "other.json").write_text(json.dumps({**content, "metric": "beauty"}))
    with pytest.raises(UserError, match="is no result"):
        read_finished([tmp_path / "other.json"])
    with pytest.raises(UserError, match="No such file"):
        read_finished([tmp_path / "missing.json"])
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match="holds no finished comparison"):
        read_finished([tmp_path / "bare"])


def test_the_table_says_by_which_cost_an_arm_is_not_beaten(tmp_path: Path) -> None:
    (finished,) = read_finished([write_finished(tmp_path, result(BASE, BETTER, WIDER))])
    table = pareto_table(finished)
    # All have as many parameters; the wider head takes more MACs than MSCSA and is worse.
    assert [(row[0], row[-1]) for row in table.rows] == [
        ("net", "GMACs, ms, batch 1"),
        ("net, wider head", "-"),
        ("mscsa_net", "GMACs, parameters (M), ms, batch 1"),
    ]
    assert table.rows[0][1:5] == ("72.50 ± 1.87", "0.000", "1.000", "2.0")
    assert table.notes[:-1] == finished.verdicts


def test_a_panel_for_each_comparison(tmp_path: Path) -> None:
    one = write_finished(tmp_path / "one", result(BASE, BETTER, WIDER))
    untimed = write_finished(tmp_path / "two", replace(result(BASE, BETTER), latency=()))
    finished = read_finished([one, untimed])
    sizes = []
    for count, cost in ((1, "macs"), (2, "macs"), (2, "ms")):
        draw_pareto(finished[:count], cost, tmp_path / "picture.png")  # type: ignore[arg-type]
        sizes.append(Image.open(tmp_path / "picture.png").size)
    assert sizes[0] == sizes[2] and sizes[1][0] == 2 * sizes[0][0]  # without its latency there is no panel
    with pytest.raises(UserError, match="no comparison has measured ms, batch 1"):
        draw_pareto(finished[1:], "ms", tmp_path / "picture.png")
    assert pareto_table(finished[1]).rows[0][4] == "-"
