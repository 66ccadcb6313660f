"""Samples that cannot be read: the same other one in their place, left out of scores, counted to a limit."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from mscsa.data.loading import build_eval_loader, build_train_loader
from mscsa.data.sampler import ResumableBatchSampler, SampleKey
from mscsa.data.tolerance import TolerantDataset
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationData
from tests.refusals import one_line_error


class Numbers:
    """Ten samples that are their keys; some cannot be read."""

    class_names = ["one"]
    extra = "passed on"

    def __init__(self, *bad: int) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 10

    def describe(self, index: int) -> str:
        return f"{index}.png"

    def __getitem__(self, key: SampleKey | int) -> Any:
        index = key.index if isinstance(key, SampleKey) else key
        if index in self.bad:
            raise UserError(f"{index}.png: damaged")
        position = key.position if isinstance(key, SampleKey) else -1
        return torch.tensor([index, position]), 0, index

    def collate(self, samples: Sequence[Any]) -> Any:
        images, labels, indices = zip(*samples, strict=True)
        return torch.stack(images), torch.tensor(labels), torch.tensor(indices)


def test_the_next_readable_sample_takes_the_place_with_the_randomness_of_the_key() -> None:
    dataset = TolerantDataset(Numbers(3, 4, 9), "train", 3)
    image, _, index = dataset[SampleKey(0, 7, 3)]
    assert (index, image.tolist()) == (5, [5, 7])
    assert dataset[SampleKey(0, 0, 9)][2] == 0  # after the last comes the first
    assert dataset[SampleKey(1, 2, 6)][2] == 6
    assert dataset.bad_indices() == [3, 4, 9]
    # Whatever was found before: another process gives the same.
    assert TolerantDataset(Numbers(3, 4, 9), "train", 3)[SampleKey(0, 7, 3)][2] == 5
    assert dataset.why(3) == "3.png: damaged"


def test_one_more_than_allowed_ends_it_with_both_numbers() -> None:
    dataset = TolerantDataset(Numbers(3, 4), "train", 1)
    one_line_error(
        lambda: dataset[3], "2 images cannot be used, data.max_bad allows 1; the last: 4.png: damaged"
    )
    everything = TolerantDataset(Numbers(*range(10)), "train", 10)
    one_line_error(lambda: everything[0], "no image of train can be read")


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_training_stay_whole(workers: int) -> None:
    dataset = TolerantDataset(Numbers(3, 4), "train", 2)
    sampler = ResumableBatchSampler(10, 5, seed=0)
    batches = list(build_train_loader(dataset, sampler, workers=workers))
    found = torch.cat([batch[2] for batch in batches]).tolist()
    assert sorted(found) == [0, 1, 2, 5, 5, 5, 6, 7, 8, 9]
    assert dataset.bad_indices() == [3, 4], "what workers find is known here"


def test_evaluation_leaves_them_out() -> None:
    dataset = TolerantDataset(Numbers(2, 3, 9), "val", 3)
    data = ClassificationData(kind="folder", eval_batch_size=2, workers=0)
    batches = list(build_eval_loader(dataset, data))
    assert [batch[2].tolist() for batch in batches] == [[0, 1], [4, 5], [6, 7], [8]]
    assert dataset.bad_indices() == [2, 3, 9]


def test_it_stands_for_the_data_set() -> None:
    dataset = TolerantDataset(Numbers(3), "train", 1)
    assert (len(dataset), dataset.class_names, dataset.extra) == (10, ["one"], "passed on")
    assert dataset.describe(2) == "2.png"
    with pytest.raises(AttributeError):
        dataset.nothing  # noqa: B018
    assert pickle.loads(pickle.dumps(dataset))[SampleKey(0, 0, 3)][2] == 4
