"""Images with objects: how ids become labels, where masks lie, and what is refused."""

from __future__ import annotations

import logging
import pickle
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mscsa.data.check_dataset import check_dataset
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.datasets import build_dataset, build_datasets, class_names_of
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError
from mscsa.recipes.spec import DetectionAugment, DetectionData
from tests.data.coco.coco_folder import SIZES, edit, write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_coco(tmp_path / "coco")


def data(root: Path, **changes: Any) -> DetectionData:
    return DetectionData(kind="coco", root=str(root), short_side=64, long_side=100, **changes)


PLAIN = DetectionAugment(hflip=0.0)


def dataset(root: Path, split: Any = "train", augment: DetectionAugment = PLAIN, **changes: Any) -> Any:
    return build_dataset(split, data(root, **changes), augment, {}, 0, with_masks=True)


def test_ids_become_labels_in_their_order(root: Path) -> None:
    found = dataset(root)
    assert found.class_names == class_names_of(data(root)) == ["bar", "disc", "never"]
    assert found.category_ids == [2, 7, 90]
    _, target, index = found[0]
    assert index == 0
    assert target["labels"].tolist() == [1, 2]  # the crowd is not trained on


def test_masks_lie_where_the_objects_are_drawn(root: Path) -> None:
    """Polygons and run lengths, at the size of the resized image; boxes go with them."""
    for i, (height, width) in enumerate(SIZES):
        image, target, _ = dataset(root)[i]
        scale = min(64 / min(height, width), 100 / max(height, width))
        assert image.shape == (3, round(height * scale), round(width * scale))
        assert target["masks"].shape == (len(target["labels"]), *image.shape[1:])
        assert target["masks"].dtype == torch.uint8
        assert image.dtype == torch.float32 and image.min() >= 0 and image.max() <= 1
        red, blue = image[0] > 0.6, image[2] > 0.6
        for label, box, mask in zip(target["labels"], target["boxes"], target["masks"], strict=True):
            drawn = red if label == 1 else blue
            assert (mask.bool() & drawn).sum() > 0.85 * (mask.bool() | drawn).sum()
            ys, xs = torch.where(mask)
            tight = torch.stack([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]).float()
            assert (tight - box).abs().max() <= 2.1


def test_images_without_objects(root: Path) -> None:
    assert len(dataset(root)) == 4
    _, target, _ = dataset(root)[2]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == (0,)
    assert target["masks"].shape[0] == 0
    without = dataset(root, keep_empty=False)
    assert len(without) == 3
    assert "106.png" not in [Path(without.describe(i)).name for i in range(3)]
    assert len(dataset(root, "val", keep_empty=False)) == 4  # evaluation looks at all


def test_evaluation_says_which_image_it_is(root: Path) -> None:
    val = dataset(root, "val")
    _, target, _ = val[1]
    assert target == {"image_id": 103, "size": SIZES[1]}
    assert {each["id"] for each in val.ground_truth()["images"]} == {100, 103, 106, 109}
    images, targets, indices = val.collate([val[0], val[1]])
    assert [each["image_id"] for each in targets] == [100, 103] and indices.tolist() == [0, 1]
    assert images[0].shape != images[1].shape


def test_an_image_is_read_from_its_file(root: Path) -> None:
    found = dataset(root, "val")
    assert found.files(2) == (root / "val" / "106.png",)
    assert all(path.is_file() for index in range(len(found)) for path in found.files(index))


def test_the_same_key_draws_the_same_image(root: Path) -> None:
    augment = DetectionAugment(short_sides=(48, 64, 80), crop_sides=(30, 50), crop_short_sides=(40, 60))
    found = dataset(root, augment=augment)
    draws = [found[SampleKey(0, position, 0)] for position in range(12)]
    again = [found[SampleKey(0, position, 0)] for position in range(12)]
    for (a, x, _), (b, y, _) in zip(draws, again, strict=True):
        assert torch.equal(a, b)
        assert all(torch.equal(x[key], y[key]) for key in x)
    assert len({tuple(image.shape) for image, _, _ in draws}) > 3


def test_workers_get_it_whole(root: Path) -> None:
    """Where workers are not forked, a data set reaches them as bytes."""
    found = dataset(root)
    there = pickle.loads(pickle.dumps(found))
    assert torch.equal(there[0][0], found[0][0])
    assert torch.equal(there[0][1]["masks"], found[0][1]["masks"])


def test_categories_are_matched_by_name(root: Path) -> None:
    """Another file may number its categories otherwise: labels are the first one's, ids its own."""

    def renumber(content: dict[str, Any]) -> None:
        new = {2: 50, 7: 1, 90: 3}
        for each in content["categories"]:
            each["id"] = new[each["id"]]
        for each in content["annotations"]:
            each["category_id"] = new[each["category_id"]]

    edit(root, renumber, "val")
    train, val = build_datasets(data(root), PLAIN, {}, 0)
    assert train.class_names == val.class_names == ["bar", "disc", "never"]
    assert val.category_ids == [50, 1, 3]  # type: ignore[attr-defined]
    edit(root, renumber)
    transform = train.transform  # type: ignore[attr-defined]
    renumbered = CocoDetection(root, "train", transform, 0, class_names=["bar", "disc", "never"])
    assert renumbered[0][1]["labels"].tolist() == [1, 2]


@pytest.mark.parametrize(("one", "other"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_are_the_same_in_other_signs(root: Path, one: str, other: str) -> None:
    """Of the splits, of a checkpoint that an older version wrote, and of what `flip_to` says."""
    names = ["k\u00e4fer left", "k\u00e4fer right"]
    for split, form in (("train", one), ("val", other)):
        left, right = (unicodedata.normalize(form, name) for name in names)

        def rename(content: dict[str, Any], left: str = left, right: str = right) -> None:
            content["categories"][1].update(name=left, supercategory=unicodedata.normalize("NFD", left))
            content["categories"][0].update(name=right, flip_to=unicodedata.normalize("NFC", left))

        edit(root, rename, split)
    augment = DetectionAugment(hflip=0.5)
    train, val = build_datasets(data(root), augment, {}, 0)
    assert train.class_names == val.class_names == [*names, "never"]
    assert [each.what for each in check_dataset(root) if not each.is_note] == []
    asked = [unicodedata.normalize("NFD", name) for name in train.class_names]
    known = build_dataset("train", data(root), augment, {}, 0, asked)
    assert known.class_names == asked and known.labels_of(0).tolist() == [1, 2]  # type: ignore[attr-defined]
    assert known.flip_pairs == train.flip_pairs == (tuple(names),)  # type: ignore[attr-defined]


def test_boxes_without_area_are_left_out_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["annotations"][0]["bbox"] = [5, 5, 0, 10]
        content["annotations"][1]["bbox"] = [500, 5, 10, 10]
        content["annotations"][3]["bbox"] = [-5, 5, 20, 10]

    edit(root, spoil)
    with caplog.at_level(logging.WARNING):
        found = dataset(root)
    assert (
        "2 objects whose box has no area inside the image are left out (annotation 1000, 999)" in caplog.text
    )
    assert len(found[0][1]["labels"]) == 0
    assert found.annotations.boxes[1].tolist() == [0, 5, 15, 10]  # the first is the crowd


def test_what_is_wrong_with_a_sample_is_named(root: Path) -> None:
    boxes = build_dataset("train", data(root), PLAIN, {}, 0)
    assert "masks" not in boxes[0][1]
    edit(root, lambda c: c["images"][0].update(height=61))
    with pytest.raises(UserError, match=r"100.png has 80x60 px, .* says 80x61"):
        build_dataset("train", data(root), PLAIN, {}, 0)[0]


def test_other_classes_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match=r"too many: disc; missing: cat"):
        build_dataset("val", data(root), PLAIN, {}, 0, ["bar", "never", "cat"])
    with pytest.raises(UserError, match="3 classes, but data.num_classes is 80"):
        dataset(root, num_classes=80)


def test_file_names_may_hold_the_folder(root: Path) -> None:
    edit(root, lambda c: [each.update(file_name=f"train/{each['file_name']}") for each in c["images"]])
    assert Path(dataset(root).describe(0)) == root / "train/100.png"
    assert dataset(root)[0][0].shape[0] == 3


def test_what_evaluation_would_stumble_over_is_refused_at_once(root: Path) -> None:
    """The scorer's compiled readers never get masks that do not fit, and a run fails before its start."""
    edit(root, lambda c: c["annotations"][2].update(segmentation={"size": [60, 80], "counts": [9]}), "val")
    with pytest.raises(UserError, match=r"instances_val.json: annotation 998: run lengths of 9 pixels"):
        dataset(root, "val")
    assert len(build_dataset("val", data(root), PLAIN, {}, 0)) == 4  # boxes alone are scored without masks
    edit(root, lambda c: c["annotations"][2].pop("segmentation"), "val")
    with pytest.raises(UserError, match="annotation 998 has no segmentation"):
        dataset(root, "val")
    edit(root, lambda c: c["annotations"].clear(), "val")
    with pytest.raises(UserError, match="has no object: there is nothing to learn or to score"):
        build_dataset("val", data(root), PLAIN, {}, 0)


def test_what_training_would_stumble_over_is_refused_at_once(root: Path) -> None:
    edit(root, lambda c: c["annotations"][0].update(segmentation=[[1, 2, 3]]))
    with pytest.raises(UserError, match=r"instances_train.json: annotation 1000: polygon of 3 coordinates"):
        dataset(root)
    edit(root, lambda c: c["annotations"][0].pop("segmentation"))
    with pytest.raises(UserError, match="annotation 1000 has no segmentation.*such as retinanet"):
        dataset(root)
    (root / "train/103.png").unlink()
    with pytest.raises(UserError, match=r"103.png: no such file, .*instances_train.json lists it \(1 such"):
        build_dataset("train", data(root), PLAIN, {}, 0)


def test_two_entries_of_one_image_are_refused(root: Path) -> None:
    """As of cam1/0001.png and cam2/0001.png, in a folder where one of them came over the other."""
    edit(root, lambda c: c["images"][0].update(file_name="cam1/100.png"))
    assert Path(dataset(root).describe(0)) == root / "train/100.png"
    edit(root, lambda c: c["images"][1].update(file_name="cam2/100.png", **size_of(c["images"][0])))
    with pytest.raises(
        UserError,
        match=r"train/100.png is the image of two entries of .*, 'cam1/100.png' and 'cam2/100.png'",
    ):
        dataset(root)
    problems = [each for each in check_dataset(root) if "two entries" in each.what]
    assert [each.path for each in problems] == [str(root / "train/100.png")]


def size_of(image: dict[str, Any]) -> dict[str, int]:
    return {name: image[name] for name in ("width", "height")}


def test_a_stray_part_is_left_out_and_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A click too many beside an object: the object is trained on and scored as if it was not there."""
    before = dataset(root)[0][1]["masks"], dataset(root, "val").ground_truth()["annotations"][0]
    for split in ("train", "val"):
        edit(root, lambda c: c["annotations"][0]["segmentation"].append([1, 2, 3, 4]), split)
    with caplog.at_level(logging.WARNING):
        train, val = dataset(root), dataset(root, "val")
    assert "1 polygons of one or two points beside others are left out" in caplog.text
    assert torch.equal(train[0][1]["masks"], before[0])
    assert val.ground_truth()["annotations"][0] == before[1]


def test_objects_below_a_pixel_are_counted(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit(root, lambda c: c["annotations"][0].update(bbox=[8, 5, 24, 0.5]))
    with caplog.at_level(logging.WARNING):
        found = dataset(root)
    assert "1 of 6 objects are less than 1 px wide or high at the size of training" in caplog.text
    assert found[0][1]["labels"].tolist() == [2]
    edit(root, lambda c: [each.update(bbox=[0.1, 0.1, 0.2, 0.3]) for each in c["annotations"]])
    with pytest.raises(UserError, match="all 6 objects are less than 1 px.*boxes in pixels"):
        dataset(root)
    crops = DetectionAugment(crop_sides=(2, 4), crop_short_sides=(400,))
    assert len(dataset(root, augment=crops)) == 4  # a crop may enlarge them


def test_a_split_may_lack_a_class(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Subsets list only what occurs in them, and some files a group beside the classes."""

    def change(content: dict[str, Any]) -> None:
        content["categories"] = [{"id": 0, "name": "all"}, *content["categories"][:2]]

    edit(root, change, "val")
    with caplog.at_level(logging.WARNING):
        _, val = build_datasets(data(root), PLAIN, {}, 0)
    assert val.class_names == ["bar", "disc", "never"]
    assert val.category_ids[:2] == [2, 7] and val.category_ids[2] not in (0, 2, 7)  # type: ignore[attr-defined]
    assert "lists no category never" in caplog.text


def test_the_ground_truth_is_what_was_read(root: Path) -> None:
    """Numbered from 1, boxes clipped to their image, crowds marked, no area made up where there is one."""
    edit(root, lambda c: c["annotations"][0].update(bbox=[-5, 5, 20, 10], id=0), "val")
    edit(root, lambda c: c["annotations"][1].update(area=None, iscrowd="0"), "val")
    truth = dataset(root, "val").ground_truth()
    assert [each["id"] for each in truth["annotations"]] == list(range(1, 8))
    bar, disc, crowd = (
        next(each for each in truth["annotations"] if each["area"] == area) for area in (240, 441, 600)
    )
    assert bar["bbox"] == [0, 5, 15, 10] and disc["bbox"] == [55, 35, 21, 21]
    assert (bar["iscrowd"], disc["iscrowd"], crowd["iscrowd"]) == (0, 0, 1)
    assert (
        "segmentation" not in build_dataset("val", data(root), PLAIN, {}, 0).ground_truth()["annotations"][0]
    )  # type: ignore[attr-defined]


PASTING = DetectionAugment(hflip=0.5, copy_paste=1.0)


def test_objects_of_other_images_are_pasted_by_the_key_alone(root: Path) -> None:
    found, plain = dataset(root, augment=PASTING), dataset(root, augment=replace(PASTING, copy_paste=0.0))
    pasted = 0
    for position in range(12):
        key = SampleKey(3, position, position % 4)
        image, target, _ = found[key]
        again, same, _ = found[key]
        assert torch.equal(image, again) and all(torch.equal(target[each], same[each]) for each in target)
        own = plain[key][1]
        assert image.shape == plain[key][0].shape
        assert target["masks"].shape == (len(target["labels"]), *image.shape[1:])
        pasted += len(target["labels"]) > len(own["labels"])
    assert pasted > 3


def test_pasting_into_detectors_of_boxes_needs_masks_and_gives_boxes(root: Path) -> None:
    found = build_dataset("train", data(root), PASTING, {}, 0)
    assert {frozenset(found[i][1]) for i in range(4)} == {frozenset({"boxes", "labels"})}
    edit(root, lambda content: content["annotations"][0].pop("segmentation"))
    with pytest.raises(
        UserError, match=r"no segmentation, which augment.copy_paste needs: .* leave that out"
    ):
        build_dataset("train", data(root), PASTING, {}, 0)
    assert len(build_dataset("train", data(root), PLAIN, {}, 0)) == 4


def test_an_image_that_cannot_be_read_pastes_nothing(root: Path) -> None:
    found = dataset(root, augment=PASTING)
    Path(found.describe(1)).write_bytes(b"no image")
    for position in range(12):
        assert len(found[SampleKey(0, position, 0)][1]["labels"]) >= 1
    with pytest.raises(UserError, match="not an image"):
        found[1]


def name_wings(content: dict[str, Any]) -> None:
    """Name two categories by their sides alone."""
    for each in content["categories"]:
        each.pop("flip_to", None)
        each["name"] = {"bar": "left wing", "disc": "right wing"}.get(each["name"], each["name"])


def test_flip_to_of_what_is_no_class_swaps_nothing(root: Path) -> None:
    edit(root, lambda c: [e.update(flip_to="never") for e in c["categories"] if e["name"] == "bar"], "val")
    for names, expected in ((["bar", "disc", "never"], (("bar", "never"),)), (["bar", "disc"], ())):
        found: Any = build_dataset("val", data(root), PLAIN, {}, 0, names)
        assert found.flip_pairs == expected


def test_flip_to_of_a_category_is_honoured(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A bar is a disc in the mirror, as `flip_to` says by id or by name; without it names are warned of."""
    for value in (7, "disc"):
        edit(root, lambda c, v=value: [e.update(flip_to=v) for e in c["categories"] if e["name"] == "bar"])
        for hflip, expected in ((0.0, [1, 2]), (1.0, [2, 1])):
            given = DetectionData(kind="coco", root=str(root), short_side=60, long_side=100)
            train = build_dataset("train", given, DetectionAugment(hflip=hflip), {}, 0)
            assert train[0][1]["labels"].tolist() == expected
    edit(root, lambda c: [e.update(flip_to=55) for e in c["categories"] if e["name"] == "bar"])
    with pytest.raises(UserError, match="flip_to of category 'bar' is 55: give the id or name of a category"):
        build_dataset("train", given, DetectionAugment(), {}, 0)
    for split in ("train", "val"):
        edit(root, name_wings, split)
    for augment, is_warned in (
        (DetectionAugment(), True),
        (DetectionAugment(hflip=0.0), False),
        (DetectionAugment(flip_pairs=(("left wing", "right wing"),)), False),
    ):
        caplog.clear()
        build_dataset("train", given, augment, {}, 0)
        assert ("names say left and right" in caplog.text) == is_warned
    notes = [each for each in check_dataset(root) if each.is_note]
    assert any("names say left and right" in each.what for each in notes)
