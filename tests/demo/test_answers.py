"""What models say on the page is what `mscsa predict` says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.demo.answers import answers_table, ask, drawn
from mscsa.demo.models import ShownModel, load_model
from mscsa.errors import UserError
from mscsa.evaluation import classify, detect, segment
from mscsa.pictures.detections import draw_objects
from mscsa.pictures.palette import palette
from mscsa.pictures.segmentations import blended, class_shares
from tests.demo.shown import save_image, save_pair


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return save_image(tmp_path / "image.png", 0)


def pair(task: str, folder: Path) -> tuple[Path, Path, list[ShownModel]]:
    with_mscsa, without = save_pair(task, folder)
    return with_mscsa, without, [load_model(path, accelerator="cpu") for path in (without, with_mscsa)]


def test_classes(tmp_path: Path, image: Path) -> None:
    with_mscsa, without, models = pair("classification", tmp_path)
    answers = ask(models, Image.open(image), 0.5)
    for path, answer in zip((without, with_mscsa), answers, strict=True):
        (expected,) = classify(path, [image], accelerator="cpu")
        assert answer.classes == expected.classes and len(answer.classes) == 5
        assert answer.picture is None and answer.size == (32, 32) and answer.ms > 0
    assert answers[0].classes != answers[1].classes


def test_label_maps(tmp_path: Path, image: Path) -> None:
    with_mscsa, without, models = pair("segmentation", tmp_path)
    answers = ask(models, Image.open(image), 0.5)
    for path, answer in zip((without, with_mscsa), answers, strict=True):
        (expected,) = segment(path, [image], accelerator="cpu")
        assert expected.image is not None and expected.labels is not None
        assert answer.picture is not None
        assert np.array_equal(answer.picture, blended(expected.image, expected.labels))
        shares = class_shares(expected.labels, expected.class_names)
        assert [each[:2] for each in answer.legend] == shares
        colours = {name: tuple(palette(256)[i]) for i, name in enumerate(expected.class_names)}
        assert all(tuple(bytes.fromhex(colour[1:])) == colours[name] for name, _, colour in answer.legend)
        assert answer.size == (40, 48)  # the shorter side is 40 px in training


def test_objects(tmp_path: Path, image: Path) -> None:
    with_mscsa, _, models = pair("instance_segmentation", tmp_path)
    (expected,) = detect(with_mscsa, [image], accelerator="cpu")
    assert expected.image is not None and expected.detections is not None
    scores = expected.detections.scores
    least = float(scores[1])
    answer = ask(models, Image.open(image), least)[1]
    picture = draw_objects(expected.image, expected.detections, expected.class_names, least)
    assert answer.picture is not None and np.array_equal(answer.picture, picture)
    assert sum(int(word) for word in answer.says.split() if word.isdigit()) >= 2
    nothing = ask(models[1:], Image.open(image), 1.0)[0]
    assert nothing.says == f"nothing with a score of 1 or more; the best has {scores[0]:.2f}"


def test_a_model_that_cannot_run_on_an_image_is_one_line(
    tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, models = pair("segmentation", tmp_path)

    def forward(*_: object) -> None:
        raise AssertionError("Input height (40) doesn't\nmatch model (224).")

    monkeypatch.setattr(models[1].loaded.model.backbone, "forward", forward)
    with pytest.raises(UserError) as caught:
        ask(models, Image.open(image), 0.5)
    assert str(caught.value) == (
        "test_resnet with MSCSA under semantic_fpn does not take this image of 48x40 px: Input height (40) "
        "doesn't match model (224).; give one of another size or shape"
    )


def test_models_take_turns_for_the_time(tmp_path: Path, image: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, _, models = pair("classification", tmp_path)
    asked: list[str] = []
    monkeypatch.setattr(
        "mscsa.demo.answers._milliseconds", lambda model, _: float(len(asked.append(model.title) or asked))
    )
    monkeypatch.setattr("mscsa.demo.answers._ROUNDS", 3)
    answers = ask(models, Image.open(image), 0.5)
    assert asked == [models[0].title, models[1].title] * 3
    assert [answer.ms for answer in answers] == [3.0, 4.0]  # of 1, 3, 5 and of 2, 4, 6
    monkeypatch.setattr("mscsa.demo.answers._TIMING_SECONDS", 0.0)
    asked.clear()
    ask(models, Image.open(image), 0.5)
    assert len(asked) == 2  # once each, however long it takes


def test_costs_are_of_the_image_itself(tmp_path: Path, image: Path) -> None:
    _, _, models = pair("segmentation", tmp_path)
    answers = ask(models, Image.open(image), 0.5)
    first, second, difference = answers_table(models, answers).rows
    assert first[:2] == (models[0].title, "40x48") and second[0] == models[1].title
    assert first[3] == f"{models[0].macs((40, 48)) / 1e9:.3f}"
    more = 100 * (models[1].parameters / models[0].parameters - 1)
    assert difference[:3] == ("difference", "", f"{more:+.1f} %") and more > 0
    assert len(answers_table(models[1:], answers[1:]).rows) == 1


def test_a_picture_leaves_no_file() -> None:
    paths = []

    def write(path: Path) -> None:
        paths.append(path)
        Image.new("RGB", (3, 2)).save(path)

    assert drawn(write).size == (3, 2)
    assert not paths[0].parent.exists()
