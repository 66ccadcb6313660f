"""Folders of the campaign's data are made from their sources, and told apart from others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks import campaign, campaign_data, evidence

GREY, RED = (60, 60, 60), (200, 30, 30)
Known = dict[str, campaign_data.Content]


def save(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def camvid(tmp_path: Path) -> Path:
    source = tmp_path / "CamVid"
    for split in campaign_data.SPLITS:
        for number in range(2):
            save(source / split / f"{split}{number}.png", np.full((6, 8, 3), RED))
            save(source / f"{split}annot" / f"{split}{number}.png", np.full((6, 8), (3, 11)[number]))
    return source


@pytest.fixture
def nuclei(tmp_path: Path) -> Path:
    """Two folders of images with two nuclei each: one dark and grey, one coloured."""
    source = tmp_path / "stage1_train"
    for name, colour in (("a" * 20, GREY), ("b" * 20, RED)):
        image = np.full((6, 8, 4), (*colour, 255))
        save(source / name / "images" / f"{name}.png", image)
        for place in range(2):
            mask = np.zeros((6, 8))
            mask[1:3, 2 + 3 * place : 4 + 3 * place] = 255
            save(source / name / "masks" / f"{place}.png", mask)
    return source


@pytest.fixture
def imagenette(tmp_path: Path) -> Path:
    """Two classes of two images in each part."""
    source = tmp_path / "imagenette"
    for split in campaign_data.SPLITS:
        for label in ("n01", "n02"):
            for number in range(2):
                save(source / split / label / f"{label}_{split}{number}.png", np.full((224, 224, 3), RED))
    return source


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "known.json"
    splits = {"train": {"images": ["a" * 16]}, "val": {"images": ["b" * 16]}}
    path.write_text(json.dumps({"nuclei": splits, "imagenette128": splits}))
    monkeypatch.setattr(campaign_data, "KNOWN", path)
    return path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> object:
    monkeypatch.setattr("sys.argv", ["campaign_data.py", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        campaign_data.main()
    return stopped.value.code


def test_camvid_keeps_its_labels_and_marks_what_has_none(camvid: Path, tmp_path: Path) -> None:
    out = tmp_path / "camvid11"
    campaign_data.make_camvid(camvid, out)
    assert Image.open(out / "images" / "train" / "train0.jpg").size == (8, 6)
    values = {
        path.stem: np.unique(np.array(Image.open(path))).tolist() for path in out.rglob("labels/*/*.png")
    }
    assert values == {"train0": [3], "train1": [255], "val0": [3], "val1": [255]}
    assert (out / "classes.txt").read_text().split() == list(campaign_data.CAMVID_CLASSES)


def test_nuclei_become_objects_with_masks(nuclei: Path, tmp_path: Path, known: Path) -> None:
    out = tmp_path / "nuclei"
    campaign_data.make_nuclei(nuclei, out)
    content = json.loads((out / "annotations" / "instances_val.json").read_text())
    (image,) = content["images"]
    assert (image["file_name"], image["width"], image["height"]) == (f"val/{'b' * 16}.jpg", 8, 6)
    assert [each["bbox"] for each in content["annotations"]] == [[2, 1, 2, 2], [5, 1, 2, 2]]
    assert [each["area"] for each in content["annotations"]] == [4, 4]
    assert Image.open(out / "train" / f"{'a' * 16}.png").mode == "L"


def test_imagenette_is_divided_as_the_campaigns(imagenette: Path, tmp_path: Path, known: Path) -> None:
    ours = {"train": ["n01_train0", "n02_train1"], "val": ["n01_train1", "n02_val0"]}
    splits = {split: {"images": names} for split, names in ours.items()}
    known.write_text(json.dumps({"imagenette128": splits}))
    out = tmp_path / "imagenette128"
    campaign_data.make_imagenette(imagenette, out)
    images = {path.relative_to(out).as_posix(): Image.open(path).size for path in out.rglob("*.jpg")}
    assert images == {
        f"{split}/{name[:3]}/{name}.jpg": (128, 128) for split, names in ours.items() for name in names
    }
    found = campaign_data.content_of(out)
    assert {split: content["images"] for split, content in found.items()} == ours
    (out / "val" / "n01" / "n01_train1.jpg").rename(out / "val" / "n02" / "n01_train1.jpg")
    said = campaign_data.difference(out, {"imagenette128": found})
    assert said == "val has the campaign's images, and other labels"


def test_a_made_folder_is_checked_at_once(
    nuclei: Path,
    tmp_path: Path,
    known: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    campaign_data.make_nuclei(nuclei, tmp_path / "nuclei")
    assert run(monkeypatch, "record", tmp_path / "nuclei") == 0
    assert run(monkeypatch, "nuclei", nuclei, tmp_path / "again" / "nuclei") == 0
    assert capsys.readouterr().out.endswith("again/nuclei: the images and labels of the campaign\n")
    assert "is there already" in str(run(monkeypatch, "nuclei", nuclei, tmp_path / "nuclei"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("label", "val has the campaign's images, and other labels"),
        ("image", "train has 1 images more and 0 fewer than the campaign's, such as more"),
        ("name", "no data set of the campaign is called streets: there are camvid11"),
        ("split", "labels/val is missing"),
    ],
)
def test_what_differs_is_named(camvid: Path, tmp_path: Path, change: str, words: str) -> None:
    out = tmp_path / "camvid11"
    campaign_data.make_camvid(camvid, out)
    known: Known = {"camvid11": campaign_data.content_of(out)}
    assert campaign_data.difference(out, known) == ""
    if change == "label":
        save(out / "labels" / "val" / "val0.png", np.full((6, 8), 4))
    elif change == "image":
        save(out / "labels" / "train" / "more.png", np.full((6, 8), 4))
    elif change == "name":
        out = out.rename(tmp_path / "streets")
    else:
        (out / "labels" / "val").rename(out / "elsewhere")
    assert campaign_data.difference(out, known).endswith(words)


def test_numbers_and_order_of_objects_do_not_count(nuclei: Path, tmp_path: Path, known: Path) -> None:
    out = tmp_path / "nuclei"
    campaign_data.make_nuclei(nuclei, out)
    found: Known = {"nuclei": campaign_data.content_of(out)}
    path = out / "annotations" / "instances_train.json"
    content = json.loads(path.read_text())
    content["annotations"].reverse()
    for number, each in enumerate(content["annotations"], 7):
        each["id"] = number
    path.write_text(json.dumps(content))
    assert campaign_data.difference(out, found) == ""
    content["annotations"].pop()
    path.write_text(json.dumps(content))
    assert campaign_data.difference(out, found) == "train has the campaign's images, and other labels"


@pytest.mark.parametrize("maker", ["camvid", "nuclei", "imagenette"])
def test_another_folder_is_no_source(
    maker: str, tmp_path: Path, known: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    said = str(run(monkeypatch, maker, tmp_path / "other", tmp_path / "out"))
    assert said.startswith(str(tmp_path / "other")) and ": give " in said
    assert not (tmp_path / "out").exists()


def test_the_results_are_of_these_images() -> None:
    known = json.loads(campaign_data.KNOWN.read_text())
    roots = {
        row.options[row.options.index("--data.root") + 1]
        for row in campaign.ROWS.values()
        if "--data.root" in row.options
    }
    assert known.keys() == roots
    for row in evidence.load_rows().values():
        root = row["recipes"]["mscsa"]["data"].get("root")
        assert root is None or row["test_images"] == len(known[root]["val"]["images"])
