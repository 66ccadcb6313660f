"""A folder of label maps as a data set: samples of both splits, and classes that must agree."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mscsa.data.datasets import build_dataset, build_datasets, class_names_of
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError
from mscsa.recipes.spec import SegmentationAugment
from tests.data.label_maps.label_map_folder import (
    CFG,
    NAMES,
    PLAIN,
    assert_aligned,
    labels_of,
    spec,
    write_label_maps,
)
from tests.refusals import one_line_error


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_image_and_labels_stay_together(masks: Path, scale: tuple[float, float]) -> None:
    augment = replace(PLAIN, scale=scale, hflip=0.5, max_class_share=0.75)
    dataset = build_dataset("train", spec(masks), augment, CFG, seed=0)
    assert dataset.class_names == list(NAMES) == class_names_of(spec(masks))
    drawn = [dataset[SampleKey(epoch, i, i % 4)] for epoch in range(3) for i in range(8)]
    for image, labels, _ in drawn:
        assert (image.shape, labels.shape) == ((3, 32, 32), (32, 32))
        assert_aligned(image, labels)
    images, labels, indices = dataset.collate(drawn[:4])
    assert (images.shape, labels.shape, indices.tolist()) == ((4, 3, 32, 32), (4, 32, 32), [0, 1, 2, 3])
    assert not all(torch.equal(a[0], b[0]) for a, b in zip(drawn[:4], drawn[4:8], strict=True))


def test_a_sample_depends_on_its_key_alone(masks: Path) -> None:
    augment = SegmentationAugment()
    first, second = (build_dataset("train", spec(masks), augment, CFG, seed=3) for _ in range(2))
    second[SampleKey(0, 0, 1)]
    torch.manual_seed(5)
    for key in (SampleKey(2, 7, 1), 1):
        for a, b in zip(first[key][:2], second[key][:2], strict=True):
            assert torch.equal(a, b)
    other = build_dataset("train", spec(masks), augment, CFG, seed=4)
    assert not torch.equal(other[SampleKey(2, 7, 1)][0], first[SampleKey(2, 7, 1)][0])


def test_evaluation_keeps_the_labels_at_their_size(masks: Path) -> None:
    dataset = build_dataset("val", spec(masks, short_side=20), PLAIN, CFG, seed=0)
    image, labels, index = dataset[2]
    assert (image.shape, labels.shape, index) == ((3, 20, 30), (40, 60), 2)
    assert np.array_equal(labels.numpy(), labels_of(12))
    images, targets, indices = dataset.collate([dataset[0], dataset[1]])
    assert isinstance(images, list) and isinstance(targets, list) and indices.tolist() == [0, 1]
    assert dataset.describe(0).endswith("im0.png")


def test_ade20ks_layout(tmp_path: Path) -> None:
    data = spec(write_label_maps(tmp_path, "ade20k"), kind="ade20k", num_classes=150)
    dataset = build_dataset("val", data, PLAIN, CFG, seed=0)
    assert np.array_equal(dataset[0][1].numpy(), labels_of(10))
    assert dataset.class_names[:2] == ["class 1", "class 2"]


def test_label_maps_that_cannot_be_read_are_passed_over_up_to_a_number(masks: Path) -> None:
    """Where the classes are looked for, too; the next image takes the place."""
    first = masks / "labels/train/im0.png"
    first.write_bytes(b"")
    one_line_error(lambda: build_datasets(spec(masks), PLAIN, CFG, 0), "im0.png: empty file")
    train, _ = build_datasets(spec(masks, max_bad=1), PLAIN, CFG, 0)
    assert train[SampleKey(0, 0, 0)][2] == 1 and train.bad_indices() == [0]  # type: ignore[attr-defined]
    for path in sorted(first.parent.iterdir())[1:]:
        path.write_bytes(b"")
    for max_bad in (1, 3, 9):
        one_line_error(
            lambda max_bad=max_bad: build_datasets(spec(masks, max_bad=max_bad), PLAIN, CFG, 0),
            "im[0-3].png: empty file",
        )


def test_classes_that_do_not_agree_are_one_line(masks: Path, tmp_path: Path) -> None:
    for call, message in (
        (lambda: class_names_of(replace(spec(masks), root=None)), "needs data.root"),
        (
            lambda: build_dataset("val", spec(masks), PLAIN, CFG, 0, ["sky", "road", "bus"]),
            "has the classes sky, road, car, the checkpoint sky, road, bus",
        ),
        (
            lambda: build_dataset("val", spec(masks, num_classes=11), PLAIN, CFG, 0),
            "3 classes, but data.num_classes is 11",
        ),
    ):
        with pytest.raises(UserError, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("lost", "what"), [("labels", "no label map"), ("images", "no image")])
def test_a_file_without_a_partner_is_refused_at_once(masks: Path, lost: str, what: str) -> None:
    (masks / lost / "train/im1.png").unlink()
    with pytest.raises(UserError, match=rf"im1.png has {what} of its name \(1 such files\)"):
        build_dataset("train", spec(masks), PLAIN, CFG, seed=0)


def test_a_class_of_a_checkpoint_may_be_spelled_otherwise(masks: Path) -> None:
    """By letters and their marks, which are the same name; and by nothing else."""
    (masks / "classes.txt").write_text(unicodedata.normalize("NFD", "sky\nStraße ü\ncar\n"), encoding="utf-8")
    known = ["sky", unicodedata.normalize("NFC", "Straße ü"), "car"]
    assert build_dataset("val", spec(masks), PLAIN, CFG, 0, known).class_names == known
    with pytest.raises(UserError, match="the checkpoint sky, Strasse, car"):
        build_dataset("val", spec(masks), PLAIN, CFG, 0, ["sky", "Strasse", "car"])
