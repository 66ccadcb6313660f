"""Fetching: what eval and predict say of the fetched model is what they say of the run."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscsa.assembly.weights_file import load_trained, read_info
from mscsa.checkpoints import save_weights
from mscsa.data.scenes.scene import render_scene
from mscsa.evaluation import classify, detect, evaluate, segment
from mscsa.hub import pull, push
from tests.refusals import one_line_error


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("images") / "scene.png"
    Image.fromarray(render_scene(3, seed=0, split="val", size=48).image).save(path)
    return path


def fetched(run: Path, tmp_path: Path) -> Path:
    push(run, str(tmp_path / "published"))
    pull(str(tmp_path / "published"), tmp_path / "fetched")
    return tmp_path / "fetched"


def test_a_classifier_there_and_back(classifier_run: Path, tmp_path: Path, image: Path) -> None:
    model = fetched(classifier_run, tmp_path)
    overrides = {"workers": 0}
    assert evaluate(model, overrides).scores == evaluate(classifier_run, overrides).scores
    assert list(classify(model, [image])) == list(classify(classifier_run, [image]))


def test_a_segmenter_there_and_back(dense_runs: dict[str, Path], tmp_path: Path, image: Path) -> None:
    run = dense_runs["segmenter"]
    model = fetched(run, tmp_path)
    ours, theirs = (next(segment(each, [image])).labels for each in (run, model))
    assert ours is not None and theirs is not None and np.array_equal(ours, theirs)


def test_a_detector_there_and_back(dense_runs: dict[str, Path], tmp_path: Path, image: Path) -> None:
    run = dense_runs["detector"]
    model = fetched(run, tmp_path)
    ours, theirs = (next(detect(each, [image])).detections for each in (run, model))
    assert ours is not None and theirs is not None and len(ours.boxes) > 0
    assert np.array_equal(ours.boxes, theirs.boxes) and np.array_equal(ours.scores, theirs.scores)


def test_what_a_mirror_image_swaps_goes_along(dense_runs: dict[str, Path], tmp_path: Path) -> None:
    run = shutil.copytree(dense_runs["segmenter"], tmp_path / "run")
    model, info = load_trained(run)
    sided = replace(info, flip_pairs=(("6", "9"),))
    save_weights(model, run / "best.safetensors", sided.to_metadata())
    assert read_info(fetched(run, tmp_path)).flip_pairs == (("6", "9"),)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["cut", "flipped", "gone"])
def test_a_file_that_is_not_the_listed_one_is_refused(
    published: Path, tmp_path: Path, name: str, damage: str
) -> None:
    source = shutil.copytree(published, tmp_path / "source")
    content = bytearray((source / name).read_bytes())
    if damage == "gone":
        (source / name).unlink()
    elif damage == "cut":
        (source / name).write_bytes(content[:-5])
    else:
        content[-3] ^= 1
        (source / name).write_bytes(content)
    line = one_line_error(lambda: pull(str(source), tmp_path / "out"), name)
    assert "fetch it again" in line
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_a_card_that_people_went_on_writing_comes_along(published: Path, tmp_path: Path) -> None:
    source = shutil.copytree(published, tmp_path / "source")
    (source / "README.md").write_text("for counting digits")
    (source / "run.py").write_text("not of mscsa")
    pull(str(source), tmp_path / "out")
    assert (tmp_path / "out" / "README.md").read_text() == "for counting digits"
    assert not (tmp_path / "out" / "run.py").exists()


def test_weights_that_say_nothing_of_themselves_are_refused(published: Path, tmp_path: Path) -> None:
    """Even where the list agrees with them."""
    from mscsa.checkpoints import read_state_dict, save_weights
    from mscsa.hub.manifest import write_manifest

    source = shutil.copytree(published, tmp_path / "source")
    save_weights(read_state_dict(source / "model.safetensors")[0], source / "model.safetensors")
    write_manifest(source)
    one_line_error(lambda: pull(str(source), tmp_path / "out"), "does not say how it was made")
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_taken_is_kept(published: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("words")
    one_line_error(lambda: pull(str(published), tmp_path / "out"), "nothing is overwritten")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine.txt"]


def test_a_name_of_the_hub_without_its_prefix_is_told(tmp_path: Path) -> None:
    line = one_line_error(lambda: pull("owner/name", tmp_path / "out"), "there is no folder owner/name")
    assert "hf-hub:OWNER/NAME" in line
