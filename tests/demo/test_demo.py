"""What the page shows, without the page: of several people at once, each gets their own."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.demo.demo import Demo, open_demo
from mscsa.demo.uploads import Limits
from mscsa.errors import UserError
from mscsa.evaluation import classify
from mscsa.pictures.saliency import compute_saliency
from mscsa.pictures.saliency_maps import draw_attention, draw_query
from tests.compare.made import BASE, result, write_finished
from tests.demo.shown import save_comparison, save_image, save_pair


@pytest.mark.slow
def test_several_people_at_once_each_get_their_own(
    demo: Demo, classifiers: tuple[Path, Path], tmp_path: Path
) -> None:
    files = [save_image(tmp_path / f"{seed}.png", seed) for seed in range(2)]
    alone = {each.path: each.classes for each in classify(classifiers[0], files, accelerator="cpu")}
    looked = {path: demo.look(path, (10, 10)).picture for path in files}

    def both(path: Path) -> bool:
        said = demo.predict(path)
        is_own = said.says.startswith(path.name)
        classes = dict(said.answers[1].classes) == pytest.approx(dict(alone[str(path)]), rel=1e-4)
        return is_own and classes and np.array_equal(demo.look(path, (10, 10)).picture, looked[path])

    with ThreadPoolExecutor(2) as people:
        assert all(people.map(both, files))


@pytest.mark.slow
def test_one_asks_at_a_time(demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hooks that take down attention would mix the images of two."""
    at_once: list[int] = []
    running = 0

    def counted(*arguments: object) -> object:
        nonlocal running
        running += 1
        at_once.append(running)
        found = compute_saliency(*arguments)  # type: ignore[arg-type]
        running -= 1
        return found

    monkeypatch.setattr("mscsa.demo.demo.compute_saliency", counted)
    file = save_image(tmp_path / "a.png", 0)
    with ThreadPoolExecutor(4) as people:
        list(people.map(lambda _: demo.look(file), range(4)))
    assert at_once == [1] * 4


@pytest.mark.slow
def test_maps_are_those_of_the_command(demo: Demo, tmp_path: Path) -> None:
    assert demo.saliency is not None
    path = save_image(tmp_path / "a.png", 0, (60, 40))  # the model sees 32x32
    picture, pixels = demo.saliency.prepare(Image.open(path))
    expected = compute_saliency(demo.saliency.model, pixels, [(24, 16)])
    draw_attention(tmp_path / "mean.png", demo.saliency.name, picture, expected)
    draw_query(tmp_path / "query.png", demo.saliency.name, picture, expected, 0, (24, 16))
    for found, name in ((demo.look(path), "mean"), (demo.look(path, (30, 30)), "query")):
        assert np.array_equal(found.picture, Image.open(tmp_path / f"{name}.png").convert("RGB"))
    assert demo.look(path).says == "a.png, 60x40 px: the mean over all points"
    assert demo.show(path).image.size == (60, 40)
    with pytest.raises(UserError, match="outside the image"):
        demo.look(path, (60, 0))


def test_errors_are_one_line_and_the_next_request_is_answered(demo: Demo, tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("no image")
    for ask in (demo.predict, demo.look, demo.show):
        with pytest.raises(UserError, match=r"^text.jpg: not an image"):
            ask(text)  # type: ignore[operator]
    assert demo.predict(save_image(tmp_path / "a.png", 0)).answers


def test_one_model_alone(classifiers: tuple[Path, Path], tmp_path: Path) -> None:
    without = open_demo(str(classifiers[1]), accelerator="cpu")
    assert len(without.predict(save_image(tmp_path / "a.png", 0)).answers) == 1
    assert "--baseline" in without.notes()[0] and len(without.cost_tables()) == 1
    with pytest.raises(UserError, match="nothing to look into"):
        without.look(tmp_path / "a.png")
    assert len(open_demo(str(classifiers[0]), accelerator="cpu").cost_tables()) == 3


def test_without_a_run_it_says_that_there_is_nothing_to_compare(tmp_path: Path) -> None:
    demo = open_demo(None, accelerator="cpu", limits=Limits(megabytes=3))
    assert "nothing is compared here" in demo.notes()[0] and demo.saliency is None
    assert demo.limits.megabytes == 3
    (answer,) = demo.predict(save_image(tmp_path / "a.png", 0)).answers
    assert len(answer.classes) == 5 and answer.size == (224, 224)
    assert "mscsa_tf_efficientnet_lite0" in demo.cost_tables()[1].title
    assert demo.costs() == []


def test_costs_of_both(demo: Demo) -> None:
    models, parts, against = demo.cost_tables()
    without, with_mscsa = demo.models
    assert [row[0] for row in models.rows] == [without.title, with_mscsa.title]
    assert [row[3] for row in models.rows] == [f"{each.parameters / 1e6:.2f}" for each in demo.models]
    assert parts.rows[-1][0] == "whole model"
    assert [row[1] for row in against.rows[:2]] == [row[3] for row in models.rows]


@pytest.mark.slow
def test_costs_of_a_detector(tmp_path: Path) -> None:
    demo = open_demo(*map(str, save_pair("instance_segmentation", tmp_path)), accelerator="cpu")
    _, parts, against = demo.cost_tables()
    assert parts.rows[-2][0] == "mask_rcnn"
    assert against.rows[0][0] == "test_resnet" and against.title.endswith("under mask_rcnn")


def test_a_pair_that_is_not_matched_is_called_so(demo: Demo, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "by what recipe" in demo.notes()[1]
    monkeypatch.setattr("mscsa.demo.demo.differences", lambda *_: ["optim.lr"])
    assert demo.notes()[1] == "Not a matched pair, beside MSCSA these differ: optim.lr."
    monkeypatch.setattr("mscsa.demo.demo.differences", lambda *_: [])
    assert demo.notes() == ["One image says little about which model is better: scores and comparisons do."]


def test_a_comparison_brings_its_own_results(tmp_path: Path) -> None:
    folder = save_comparison(tmp_path / "compare")
    assert open_demo(str(folder), accelerator="cpu").finished == ()
    better = result(BASE, tuple(each + 1 for each in BASE))
    write_finished(folder, better)
    other = write_finished(tmp_path / "other", better)
    demo = open_demo(str(folder), comparisons=[str(other), str(folder)], accelerator="cpu")
    assert [each.path for each in demo.finished] == [folder / "compare.json", other / "compare.json"]
    assert demo.costs() == ["macs", "parameters", "ms"]
    assert demo.pareto("macs").width > 300 and len(demo.pareto_tables()) == 2
