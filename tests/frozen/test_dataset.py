"""Records as a data set: variants and crops in training, whole images in evaluation."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mscsa.data.contract import IGNORED
from mscsa.data.sampler import SampleKey
from mscsa.frozen.dataset import Crop, FrozenSegmentation
from mscsa.frozen.store import MapStore, write_store
from tests.frozen.test_store import read


class Images:
    """Two images; the labels of pixel (y, x) in variant v are 100 v + y // 8 * 10 + x // 8."""

    class_names = ["a", "b"]

    def __len__(self) -> int:
        return 2

    def describe(self, index: int) -> str:
        return f"image {index}"


def frozen(folder: Path, *, crop: Crop | None) -> FrozenSegmentation:
    y, x = torch.meshgrid(torch.arange(64), torch.arange(48), indexing="ij")
    cells = y // 8 * 10 + x // 8
    records = [(torch.zeros(3, 64, 48), cells + 100 * variant) for variant in (0, 0, 1, 1)]
    write_store(folder, records, read)
    store = MapStore(folder)
    return FrozenSegmentation(Images(), store, first=0, sizes=store.sizes, crop=crop, seed=3)  # type: ignore[arg-type]


def test_evaluation_sees_the_first_variant_whole(tmp_path: Path) -> None:
    dataset = frozen(tmp_path, crop=None)
    image, labels, index = dataset[1]
    assert (len(dataset), index, dataset.describe(1)) == (2, 1, "image 1")
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
