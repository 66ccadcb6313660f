"""From a run's description to data sets."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.class_folders.layouts import find_classes
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.coco.layouts import GivenFiles, find_objects
from mscsa.data.contract import Split, TaskDataset, Transform
from mscsa.data.label_maps.dataset import SegmentationFolder
from mscsa.data.label_maps.layouts import find_maps
from mscsa.data.mirroring import mirror_warning, mirrored_classes
from mscsa.data.packed.dataset import PackedImages
from mscsa.data.packed.layouts import find_packed
from mscsa.data.scenes.classification import SceneClassification
from mscsa.data.scenes.collage import COLLAGE_CLASSES, CollageCollection
from mscsa.data.scenes.collection import SEGMENTATION_CLASSES, SceneCollection
from mscsa.data.scenes.detection import SceneDetection
from mscsa.data.scenes.scene import CLASS_NAMES
from mscsa.data.scenes.segmentation import SceneSegmentation
from mscsa.data.tolerance import tolerant
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.data.transforms.detection import ObjectTransform, build_detection_transforms
from mscsa.data.transforms.segmentation import JointTransform, build_segmentation_transforms
from mscsa.errors import UserError
from mscsa.recipes.spec import (
    GIVEN_PLACES,
    AugmentSpec,
    ClassificationAugment,
    ClassificationData,
    DataSpec,
    DetectionAugment,
    DetectionData,
    SegmentationAugment,
    SegmentationData,
)

logger = logging.getLogger(__name__)


def class_names_of(data: DataSpec) -> list[str]:
    """Name the classes of a data set, in the order of their labels, before it is built.

    Raises:
        UserError: If the data set is not there, or does not name its classes.
    """
    if isinstance(data, SegmentationData):
        if data.kind == "scenes":
            return list(SEGMENTATION_CLASSES)
        if data.kind == "collages":
            return list(COLLAGE_CLASSES)
        return list(find_maps(_root(data), "train", data.kind).table.names)
    if data.kind == "scenes":
        return list(CLASS_NAMES)
    if isinstance(data, DetectionData):
        return find_objects(data.root, "train", given_files(data, "train")).class_names()
    packed = find_packed(_root(data), "train")
    return find_classes(_root(data), "train").class_names() if packed is None else packed.class_names


def build_datasets(
    data: DataSpec,
    augment: AugmentSpec,
    model_cfg: dict[str, Any],
    seed: int,
    *,
    with_masks: bool = False,
) -> tuple[TaskDataset, TaskDataset]:
    """Return the training and the validation set.

    Args:
        model_cfg: The model's `pretrained_cfg`: mean, std, crop and interpolation.
        seed: Seed of the augmentation.
        with_masks: Whether objects have masks.
    Raises:
        UserError: As `build_dataset` does, or if the classes of the two differ.
    """
    train = build_dataset("train", data, augment, model_cfg, seed, with_masks=with_masks)
    # Each file of annotations has category ids of its own: the names of train settle the labels.
    names = train.class_names if isinstance(data, DetectionData) else None
    val = build_dataset("val", data, augment, model_cfg, seed, names, with_masks=with_masks)
    return tolerant(train, "train", data.max_bad), tolerant(val, "val", data.max_bad)


def build_dataset(
    split: Split,
    data: DataSpec,
    augment: AugmentSpec,
    model_cfg: dict[str, Any],
    seed: int,
    class_names: Sequence[str] | None = None,
    *,
    with_masks: bool = False,
) -> TaskDataset:
    """Return one split: `train` with the training transform, `val` with the evaluation's.

    Args:
        model_cfg: The model's `pretrained_cfg`: mean, std, crop and interpolation.
        seed: Seed of the augmentation.
        class_names: Classes of a checkpoint, in the order of its labels; null takes the data's.
        with_masks: Whether objects have masks.
    Raises:
        UserError: If the description is incomplete, or the data does not fit it or `class_names`.
    """
    dataset: TaskDataset
    if isinstance(data, SegmentationData) and isinstance(augment, SegmentationAugment):
        mirrored = mirrored_maps(split, data, augment)
        joint = build_segmentation_transforms(data, augment, model_cfg, mirrored)[split == "val"]
        dataset = _segmentation_dataset(split, data, joint, seed, class_names)
    elif isinstance(data, DetectionData) and isinstance(augment, DetectionAugment):
        of_objects = build_detection_transforms(data, augment)[split == "val"]
        pairs = augment.flip_pairs if split == "train" else ()
        dataset = _detection_dataset(split, data, of_objects, seed, class_names, with_masks, pairs)
    elif isinstance(data, ClassificationData) and isinstance(augment, ClassificationAugment):
        transform = build_classification_transforms(data, augment, model_cfg)[split == "val"]
        dataset = _classification_dataset(split, data, transform, seed, class_names)
    else:
        raise TypeError(f"{type(data).__name__} and {type(augment).__name__} are of different tasks")
    if split == "train" and (augment.hflip or getattr(augment, "vflip", 0)):
        _warn_of_mirrors(dataset, augment)
    if class_names is not None and list(class_names) != dataset.class_names:
        raise UserError(
            f"the {data.kind} have the classes {', '.join(dataset.class_names)}, the checkpoint "
            f"{len(class_names)} others; give the data that the checkpoint was trained for"
        )
    found = len(dataset.class_names)
    if data.num_classes is not None and data.num_classes != found:
        raise UserError(
            f"{data.root or f'the {data.kind}'}: {found} classes, but data.num_classes is "
            f"{data.num_classes}; correct one of them, or give null for data.num_classes"
        )
    return dataset


def _classification_dataset(
    split: Split,
    data: ClassificationData,
    transform: Transform,
    seed: int,
    class_names: Sequence[str] | None,
) -> TaskDataset:
    if data.kind == "folder":
        if (packed := find_packed(_root(data), split)) is not None:
            return PackedImages(packed, transform, seed, class_names)
        return ImageFolder(_root(data), split, transform, seed, class_names)
    return SceneClassification(_scenes(split, data, data.image_size), transform, seed=seed)


def _segmentation_dataset(
    split: Split,
    data: SegmentationData,
    transform: JointTransform,
    seed: int,
    class_names: Sequence[str] | None,
) -> TaskDataset:
    if data.kind == "scenes":
        scenes = _scenes(split, data, data.short_side, data.max_digits)
        return SceneSegmentation(scenes, transform, seed=seed)
    if data.kind == "collages":
        collages = CollageCollection(split=split, num_scenes=_count(split, data), size=data.short_side)
        return SceneSegmentation(collages, transform, seed=seed)
    return SegmentationFolder(
        _root(data),
        split,
        transform,
        seed,
        layout=data.kind,
        class_names=class_names,
        max_bad=data.max_bad,
    )


def _detection_dataset(
    split: Split,
    data: DetectionData,
    transform: ObjectTransform,
    seed: int,
    class_names: Sequence[str] | None,
    with_masks: bool,
    flip_pairs: Sequence[tuple[str, str]],
) -> TaskDataset:
    if data.kind == "scenes":
        scenes = _scenes(split, data, data.short_side, data.max_digits)
        return SceneDetection(scenes, transform, seed=seed, with_masks=with_masks)
    given = given_files(data, split)
    return CocoDetection(
        _root(data) if given is None else None,
        split,
        transform,
        seed,
        with_masks=with_masks,
        keep_empty=data.keep_empty,
        class_names=class_names,
        given=given,
        flip_pairs=flip_pairs,
        max_bad=data.max_bad,
    )


def given_files(data: DetectionData, split: Split) -> GivenFiles | None:
    """Give the places of a split that a description names one by one; None if it names a folder.

    Raises:
        UserError: If it names some of them, or a folder as well.
    """
    if not data.is_given:
        return None
    missing = [name for name in GIVEN_PLACES if getattr(data, name) is None]
    if missing:
        raise UserError(f"data.{missing[0]} is not given: give all of data.{', data.'.join(GIVEN_PLACES)}")
    if data.root is not None:
        raise UserError(
            f"data.root {data.root} and data.train_annotations both say where the data is: leave one out"
        )
    annotations, images = (getattr(data, f"{split}_{what}") for what in ("annotations", "images"))
    return GivenFiles(annotations, images)


def mirrored_maps(split: Split, data: SegmentationData, augment: SegmentationAugment) -> tuple[int, ...]:
    """Give what each class of label maps is in a mirror image, K; nothing where all stay as they are."""
    if split == "val" or not (augment.hflip or augment.vflip):
        return ()
    pairs: Sequence[Sequence[str]] = augment.flip_pairs
    if not pairs and data.kind != "scenes" and data.kind != "collages":
        pairs = find_maps(_root(data), split, data.kind).table.flips
    return tuple(mirrored_classes(class_names_of(data), pairs)) if pairs else ()


def flip_pairs_of(dataset: TaskDataset, augment: AugmentSpec) -> tuple[tuple[str, str], ...]:
    """Name the classes that are each other in a mirror image: as the recipe says, or else the data.

    Raises:
        UserError: If a pair names something else than two classes, or a class is in two pairs.
    """
    pairs = tuple(getattr(augment, "flip_pairs", ()) or getattr(dataset, "flip_pairs", ()))
    mirrored_classes(dataset.class_names, pairs)
    return pairs


def _warn_of_mirrors(dataset: TaskDataset, augment: AugmentSpec) -> None:
    """Warn where mirror images contradict the names of classes."""
    pairs = flip_pairs_of(dataset, augment)
    can_swap = not isinstance(augment, ClassificationAugment)
    if (warning := mirror_warning(dataset.class_names, pairs, can_swap=can_swap)) is not None:
        logger.warning("%s", warning)


def _root(data: DataSpec) -> str:
    if data.root is None:
        raise UserError(
            f"data.kind {data.kind!r} needs data.root, the folder that holds the data set; give "
            "--data.root PATH, or --root PATH of eval"
        )
    return data.root


def _scenes(split: Split, data: DataSpec, size: int, max_digits: int = 1) -> SceneCollection:
    return SceneCollection(split=split, num_scenes=_count(split, data), size=size, max_digits=max_digits)


def _count(split: Split, data: DataSpec) -> int:
    """Give the number of rendered images of a split."""
    count = data.num_train if split == "train" else data.num_val
    if count < 1:
        raise UserError(f"data.num_{split} {count} gives no {data.kind}; give 1 or more")
    return count
