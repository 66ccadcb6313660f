"""Packed images as a data set: the samples of the image folder that they were, in any process."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path

import pytest
import torch

from mscsa.data.contract import Split
from mscsa.data.datasets import build_dataset, build_datasets, class_names_of
from mscsa.data.identity import hash_of_files
from mscsa.data.loading import build_train_loader
from mscsa.data.packed.dataset import PackedImages
from mscsa.data.packed.layouts import find_packed
from mscsa.data.sampler import ResumableBatchSampler, SampleKey
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData
from tests.data.packed.packed_files import CLASSES, table_of, write_shards

CFG = {"mean": (0.5,) * 3, "std": (0.5,) * 3, "input_size": (3, 32, 32)}


def data(root: Path) -> ClassificationData:
    return ClassificationData(kind="folder", root=str(root), image_size=32, batch_size=4, workers=0)


@pytest.mark.parametrize("split", ["train", "val"])
def test_samples_are_those_of_the_image_folder(folder: Path, tmp_path: Path, split: Split) -> None:
    root = write_shards(folder, tmp_path / "packed")
    plain, packed = (
        build_dataset(split, data(each), ClassificationAugment(), CFG, 3) for each in (folder, root)
    )
    assert isinstance(packed, PackedImages) and packed.class_names == plain.class_names == list(CLASSES)
    assert class_names_of(data(root)) == list(CLASSES) and len(packed) == len(plain)
    for index in range(len(plain)):
        key = SampleKey(epoch=2, position=index + 5, index=index)
        (image, *rest), (wanted, *others) = packed[key], plain[key]
        assert torch.equal(image, wanted) and rest == others
    assert packed.describe(0).endswith(f"{split}-00.tar:{split}_ant_0.png")


def test_a_resumed_run_and_workers_see_the_same(folder: Path, tmp_path: Path) -> None:
    """The batches from the fourth step on, by two processes with a worker each, are those of a whole run."""
    train, _ = build_datasets(data(write_shards(folder, tmp_path / "a")), ClassificationAugment(), CFG, 3)
    whole = ResumableBatchSampler(len(train), 4, seed=1)
    first = list(build_train_loader(train, whole, workers=0))
    second = list(build_train_loader(train, whole, workers=0))
    shares = []
    for rank in (0, 1):
        sampler = ResumableBatchSampler(
            len(train), 4, seed=1, rank=rank, world_size=2, start_epoch=1, start_batch=1
        )
        shares.append(list(build_train_loader(train, sampler, workers=1)))
    assert len(first) == 3 and [len(each) for each in shares] == [2, 2]
    for wanted, *parts in zip(second[1:], *shares, strict=True):
        images = torch.stack([part[0] for part in parts], dim=1).flatten(0, 1)
        indices = torch.stack([part[2] for part in parts], dim=1).flatten()
        assert torch.equal(images, wanted[0]) and torch.equal(indices, wanted[2])


def test_tables_are_taken_along_by_workers(folder: Path, tmp_path: Path) -> None:
    table_of(folder, "train").save_to_disk(tmp_path / "a" / "train")
    table_of(folder, "val").save_to_disk(tmp_path / "a" / "val")
    train, val = build_datasets(data(tmp_path / "a"), ClassificationAugment(), CFG, 0)
    assert len(train) == 12 and len(val) == 9
    other = pickle.loads(pickle.dumps(val))
    assert torch.equal(other[4][0], val[4][0])


def test_counts_are_said_and_what_is_missing(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = write_shards(folder, tmp_path / "packed")
    (root / "classes.txt").write_text("ant\nbee\ncat\nelk\n")
    found = find_packed(root, "train")
    assert found is not None
    with caplog.at_level(logging.INFO):
        PackedImages(found, lambda image: torch.zeros(3), 0)
    assert "tar shards with 12 images of 4 classes for train; each is read by itself" in caplog.text
    assert "no image of 'elk' in train" in caplog.text
    with pytest.raises(UserError, match="has images of 'cat', none of the 2 classes of the checkpoint"):
        PackedImages(found, lambda image: torch.zeros(3), 0, ["ant", "bee"])
    kept = PackedImages(found, lambda image: torch.zeros(3), 0, ["cat", "bee", "ant"])
    assert kept.labels == [2] * 4 + [1] * 4 + [0] * 4


def test_a_damaged_image_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "val" / "bee" / "1.png").write_bytes(b"no image")
    _, val = build_datasets(data(write_shards(folder, tmp_path / "a")), ClassificationAugment(), CFG, 0)
    with pytest.raises(UserError, match=r"val-00.tar:val_bee_1.png: not an image"):
        val[4]


def test_what_the_data_is_follows_from_its_files(folder: Path, tmp_path: Path) -> None:
    root = write_shards(folder, tmp_path / "a")

    def known(where: Path) -> str:
        train, _ = build_datasets(data(where), ClassificationAugment(), CFG, 0)
        return hash_of_files(train, where)

    before = known(root)
    assert known(root.rename(tmp_path / "b")) == before
    (tmp_path / "b" / "train" / "train-00.tar").open("ab").write(bytes(10240))
    assert known(tmp_path / "b") != before
