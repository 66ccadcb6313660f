"""From a description to data sets: both splits, the same images for a key, and what does not fit."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from mscsa.data.datasets import build_dataset, build_datasets, class_names_of, flip_pairs_of
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.classification import SceneClassification
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.detection import SceneDetection
from mscsa.data.scenes.segmentation import SceneSegmentation
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    ClassificationAugment,
    ClassificationData,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
    SegmentationData,
)

SCENES = ClassificationData(
    kind="scenes", image_size=32, batch_size=8, eval_batch_size=6, workers=0, num_train=44, num_val=15
)
SEGMENTED = SegmentationData(kind="scenes", short_side=40, max_digits=2)
DETECTED = DetectionData(kind="scenes", short_side=40, max_digits=2)
AUGMENT = ClassificationAugment(repeats=2)  # everything else on: crop, flip, RandAugment, erasing


def folder_spec(folder, **changes):
    spec = ClassificationData(kind="folder", root=str(folder), image_size=32, batch_size=4, workers=0)
    return replace(spec, eval_batch_size=4, **changes)


def test_augmentation_is_a_function_of_seed_epoch_and_position():
    dataset = build_dataset("train", SCENES, AUGMENT, {}, seed=0)
    reference = dataset[SampleKey(1, 2, 3)][0]
    torch.manual_seed(5)
    assert torch.equal(dataset[SampleKey(1, 2, 3)][0], reference)
    assert not torch.equal(dataset[SampleKey(2, 2, 3)][0], reference)
    assert not torch.equal(dataset[SampleKey(1, 3, 3)][0], reference)
    other = build_dataset("train", SCENES, AUGMENT, {}, seed=1)
    assert not torch.equal(other[SampleKey(1, 2, 3)][0], reference)


def test_evaluation_images_depend_neither_on_the_seed_nor_on_the_augmentation():
    first = build_dataset("val", SCENES, AUGMENT, {}, seed=0)
    second = build_dataset("val", SCENES, ClassificationAugment(repeats=1, scale=(0.5, 0.6)), {}, seed=1)
    for index in range(len(first)):
        assert torch.equal(first[index][0], second[index][0])


def test_both_splits_at_once(folder):
    train, val = build_datasets(folder_spec(folder), AUGMENT, {}, 0)
    assert (len(train), len(val)) == (12, 9)
    assert train.class_names == val.class_names


@pytest.mark.parametrize(
    ("data", "augment", "kind"),
    [
        (SCENES, AUGMENT, SceneClassification),
        (SEGMENTED, SegmentationAugment(), SceneSegmentation),
        (DETECTED, DetectionAugment(), SceneDetection),
    ],
)
def test_scenes_are_as_described_and_their_classes_known_before(data, augment, kind):
    data = replace(data, num_train=3, num_val=2)
    train, val = build_datasets(data, augment, {}, 7)
    assert type(train) is type(val) is kind
    assert train.class_names == class_names_of(data)
    several = {} if kind is SceneClassification else {"max_digits": 2}
    size = 32 if kind is SceneClassification else 40
    assert train.scenes == SceneCollection(split="train", num_scenes=3, size=size, **several)
    assert val.scenes == SceneCollection(split="val", num_scenes=2, size=size, **several)
    assert train.seed == 7


def test_classes_of_a_folder_are_known_before(folder):
    assert class_names_of(folder_spec(folder)) == ["ant", "bee", "cat"]


def test_masks_of_objects_are_drawn_where_they_are_asked_for():
    data = DetectionData(kind="scenes", short_side=40, long_side=40, num_train=1, num_val=1)
    for with_masks in (True, False):
        dataset = build_dataset("train", data, DetectionAugment(), {}, 0, with_masks=with_masks)
        assert ("masks" in dataset[0][1]) == with_masks


def test_data_of_one_task_and_augmentation_of_another_are_refused():
    with pytest.raises(TypeError, match="SegmentationData and ClassificationAugment are of different tasks"):
        build_dataset("train", SegmentationData(kind="scenes"), AUGMENT, {}, 0)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"num_train": 0}, "data.num_train 0 gives no scenes"),
        ({"num_classes": 7}, "the scenes: 10 classes, but data.num_classes is 7"),
        ({"kind": "folder"}, "needs data.root.*--data.root PATH"),
    ],
)
def test_a_description_that_does_not_fit_is_one_line(change, line):
    with pytest.raises(UserError, match=line) as caught:
        build_dataset("train", replace(SCENES, **change), AUGMENT, {}, 0)
    assert "\n" not in str(caught.value)


def test_a_wrong_class_count_names_the_folder(folder):
    with pytest.raises(UserError, match=f"{folder}: 3 classes, but data.num_classes is 1000"):
        build_dataset("val", folder_spec(folder, num_classes=1000), AUGMENT, {}, 0)
    assert len(build_dataset("val", folder_spec(folder, num_classes=3), AUGMENT, {}, 0)) == 9


def test_the_recipe_says_what_a_mirror_image_swaps_and_else_the_data():
    dataset = SimpleNamespace(class_names=["a", "b", "c"], flip_pairs=(("a", "b"),))
    assert flip_pairs_of(dataset, SegmentationAugment()) == (("a", "b"),)
    assert flip_pairs_of(dataset, SegmentationAugment(flip_pairs=(("a", "c"),))) == (("a", "c"),)
    assert flip_pairs_of(build_dataset("val", SCENES, AUGMENT, {}, 0), AUGMENT) == ()
    with pytest.raises(UserError, match="augment.flip_pairs, or flip_to of the data, has"):
        flip_pairs_of(dataset, DetectionAugment(flip_pairs=(("a", "d"),)))


def test_scenes_refuse_a_checkpoint_of_other_classes():
    build_dataset("val", SCENES, AUGMENT, {}, 0, [str(digit) for digit in range(10)])
    with pytest.raises(UserError, match="the checkpoint"):
        build_dataset("val", SCENES, AUGMENT, {}, 0, ["ant", "bee"])
