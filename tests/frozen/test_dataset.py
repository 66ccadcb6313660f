"""Records as a data set: variants, and crops or objects, in training; whole images in evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mscsa.data.batches import collate_maps
from mscsa.data.contract import IGNORED, with_transform
from mscsa.data.sampler import SampleKey
from mscsa.data.scenes.collection import SceneCollection
from mscsa.data.scenes.detection import SceneDetection
from mscsa.data.transforms.detection import build_detection_transforms, build_object_variants
from mscsa.frozen.dataset import Crop, FrozenDetection, FrozenSegmentation
from mscsa.frozen.store import MapStore, write_store
from mscsa.recipes.spec import DetectionAugment, DetectionData
from tests.frozen.test_store import read


class Images:
    """Two images; the labels of pixel (y, x) in variant v are 100 v + y // 8 * 10 + x // 8."""

    class_names = ["a", "b"]
    flip_pairs = (("a", "b"),)

    def __len__(self) -> int:
        return 2

    def describe(self, index: int) -> str:
        return f"image {index}"

    def collate(self, samples: Any) -> Any:
        return collate_maps(samples, "val")


def frozen(folder: Path, *, crop: Crop | None, hflip: float = 0.5) -> FrozenSegmentation:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    cells = y // 8 * 10 + x // 8
    records = [(torch.zeros(3, 64, 48), cells + 100 * variant) for variant in (0, 0, 1, 1)]
    folder.mkdir(exist_ok=True)
    write_store(folder, records, read)
    store = MapStore(folder)
    dataset: Any = Images()
    return FrozenSegmentation(dataset, store, first=0, sizes=store.sizes, crop=crop, hflip=hflip, seed=3)


def test_evaluation_sees_the_first_variant_whole(tmp_path: Path) -> None:
    dataset = frozen(tmp_path, crop=None)
    image, labels, index = dataset[1]
    assert (len(dataset), index, dataset.describe(1)) == (2, 1, "image 1")
    assert dataset.flip_pairs == (("a", "b"),)
    assert image.shape == (3, 64, 48) and image[:, 0, 0].tolist() == [1, 0, 0]
    assert labels.dtype == torch.int64 and labels.max() == 75
    images, targets, indices = dataset.collate([dataset[0], dataset[1]])
    assert len(images) == len(targets) == 2 and indices.tolist() == [0, 1]


def test_training_draws_variants_and_crops_that_fit_their_labels(tmp_path: Path) -> None:
    dataset = frozen(tmp_path, crop=Crop(side=32, step=8, max_class_share=1.0))
    seen = set()
    for position in range(200):
        image, labels, index = dataset[SampleKey(0, position, position % 2)]
        record, top, left = (int(value) for value in image[:, 0, 0])
        assert record % 2 == index and image.shape == (3, 32, 32)
        assert labels.shape == (32, 32)
        assert labels[0, 0] == 100 * (record // 2) + top // 8 * 10 + left // 8
        seen.add((record, top, left))
    assert {record for record, _, _ in seen} == {0, 1, 2, 3}
    assert {top for _, top, _ in seen} == {0, 8, 16, 24, 32} and {left for *_, left in seen} == {0, 8, 16}


def test_a_sample_is_a_function_of_its_key(tmp_path: Path) -> None:
    dataset = frozen(tmp_path, crop=Crop(side=32, step=8, max_class_share=1.0))
    keys = [SampleKey(epoch, position, 0) for epoch in (0, 1) for position in range(8)]
    first = [dataset[key][0][:, 0, 0].tolist() for key in keys]
    assert first == [dataset[key][0][:, 0, 0].tolist() for key in keys]
    assert first[:8] != first[8:]


@pytest.mark.parametrize("side", [56, 96])
def test_a_crop_larger_than_the_image_is_filled_with_ignored_pixels(tmp_path: Path, side: int) -> None:
    dataset = frozen(tmp_path, crop=Crop(side=side, step=8, max_class_share=1.0))
    image, labels, _ = dataset[SampleKey(0, 0, 0)]
    assert image.shape == (3, side, side) and labels.shape == (side, side)
    assert (labels[:, 48:] == IGNORED).all() and (labels[: min(side, 64), :48] != IGNORED).all()


DATA = DetectionData(kind="scenes", short_side=64, long_side=96)
AUGMENT = DetectionAugment(short_sides=(48, 64))
VARIANTS = build_object_variants(DATA, AUGMENT)


def scenes(split: Any) -> SceneDetection:
    transform = build_detection_transforms(DATA, AUGMENT)[split == "val"]
    collection = SceneCollection(split=split, num_scenes=3, size=64, max_digits=3)
    return SceneDetection(collection, transform, seed=0, with_masks=True)


def frozen_scenes(folder: Path, hflip: float = 0.5) -> tuple[FrozenDetection, FrozenDetection]:
    """Three images in four variants for training, three whole ones for evaluation."""
    sides = [48] * 6 + [64] * 6 + [64] * 3
    folder.mkdir(exist_ok=True)
    write_store(folder, [(torch.zeros(3, side, side), torch.zeros(0, 0)) for side in sides], read)
    store = MapStore(folder)
    training: dict[str, Any] = {"first": 0, "sizes": store.sizes[:12], "variants": VARIANTS}
    return (
        FrozenDetection(scenes("train"), store, **training, hflip=hflip, seed=3),
        FrozenDetection(scenes("val"), store, first=12, sizes=store.sizes[12:]),
    )


def test_training_draws_variants_with_their_objects(tmp_path: Path) -> None:
    dataset, _ = frozen_scenes(tmp_path)
    seen = set()
    for position in range(60):
        image, objects, index = dataset[SampleKey(0, position, position % 3)]
        record, top, left = (int(value) for value in image[:, 0, 0])
        assert index == record % 3 == position % 3 and (top, left) == (0, 0)
        pixels, expected, _ = with_transform(scenes("train"), VARIANTS[record // 3])[index]
        assert image.shape == pixels.shape
        assert objects.keys() == {"boxes", "labels", "masks"} and len(objects["labels"])
        assert all(torch.equal(objects[name], expected[name]) for name in expected)
        seen.add(record)
    assert seen == set(range(12))


def test_a_sample_with_objects_is_a_function_of_its_key(tmp_path: Path) -> None:
    dataset, _ = frozen_scenes(tmp_path)
    keys = [SampleKey(epoch, position, 0) for epoch in (0, 1) for position in range(8)]
    first = [dataset[key][0][0, 0, 0].item() for key in keys]
    assert first == [dataset[key][0][0, 0, 0].item() for key in keys]
    assert first[:8] != first[8:]


def test_an_even_chance_draws_what_it_drew_in_published_runs(tmp_path: Path) -> None:
    of_maps = frozen(tmp_path / "maps", crop=Crop(side=32, step=8, max_class_share=1.0))
    addresses = [of_maps[SampleKey(0, i, i % 2)][0][:, 0, 0].tolist() for i in range(8)]
    first = [[0, 24, 8], [1, 32, 0], [0, 32, 8], [3, 0, 0]]
    assert addresses == [*first, [2, 16, 8], [3, 24, 0], [2, 24, 8], [1, 0, 8]]
    of_objects, _ = frozen_scenes(tmp_path / "objects")
    records = [of_objects[SampleKey(0, i, i % 3)][0][0, 0, 0].item() for i in range(12)]
    assert records == [3, 1, 2, 9, 10, 8, 9, 4, 5, 0, 10, 8]


@pytest.mark.parametrize("hflip", [0.1, 1.0])
def test_so_many_samples_are_mirrored_as_is_said_and_all_sizes_alike(tmp_path: Path, hflip: float) -> None:
    of_maps = frozen(tmp_path / "maps", crop=Crop(side=32, step=8, max_class_share=1.0), hflip=hflip)
    of_objects, _ = frozen_scenes(tmp_path / "objects", hflip)
    for dataset, num_sizes in ((of_maps, 1), (of_objects, 2)):
        samples: Any = [dataset[SampleKey(0, i, 0)][0] for i in range(200)]
        variants = np.array([int(image[0, 0, 0]) // len(dataset) for image in samples])
        assert (variants % 2).mean() == pytest.approx(hflip, abs=0.08)
        sizes = np.bincount(variants // 2) / 200
        assert sizes == pytest.approx(np.full(num_sizes, 1 / num_sizes), abs=0.12)


def test_objects_are_evaluated_on_whole_images(tmp_path: Path) -> None:
    _, dataset = frozen_scenes(tmp_path)
    samples = [dataset[index] for index in range(len(dataset))]
    assert [image[:, 0, 0].tolist() for image, _, _ in samples] == [[12, 0, 0], [13, 0, 0], [14, 0, 0]]
    assert [target for _, target, _ in samples] == [{"image_id": i, "size": (64, 64)} for i in range(3)]
    assert dataset.collate(samples)[2].tolist() == [0, 1, 2]
    truth = scenes("val")
    assert dataset.ground_truth() == truth.ground_truth()
    assert (dataset.category_ids, dataset.class_names) == (truth.category_ids, truth.class_names)
    assert dataset.flip_pairs == ()
    assert dataset.describe(1) == truth.describe(1)


def test_another_transform_leaves_the_data_set_as_it_is() -> None:
    dataset = scenes("val")
    before = dataset[0][0]
    other = with_transform(dataset, lambda image, objects: (torch.ones(3, 2, 2), objects))
    assert other[0][0].shape == (3, 2, 2) and torch.equal(dataset[0][0], before)
