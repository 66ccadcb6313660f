"""A data set some of whose images may be unreadable: what takes their place, and which they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import distributed as dist

from mscsa.data.contract import Split, TaskDataset, sample_index
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError


class TolerantDataset:
    """A `TaskDataset` that stands for another one and passes over samples that cannot be read.

    In training the next readable sample, in the order of their indices, takes such a sample's place, with
    the randomness of its key: the same one in any process and after any resume. In evaluation it is left out.

    Args:
        dataset: What it stands for.
        split: Which split that is.
        max_bad: Most samples that may be unreadable.
    """

    def __init__(self, dataset: TaskDataset, split: Split, max_bad: int) -> None:
        self._dataset = dataset
        self._split = split
        self._max_bad = max_bad
        # In shared memory: workers of a loader mark what this process asks for.
        self._is_bad = torch.zeros(len(dataset), dtype=torch.bool).share_memory_()

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # while it is unpickled there is no data set yet
            raise AttributeError(name)
        return getattr(self._dataset, name)

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def class_names(self) -> list[str]:
        """Name the classes."""
        return self._dataset.class_names

    def describe(self, index: int) -> str:
        """Name the image."""
        return self._dataset.describe(index)

    def bad_indices(self) -> list[int]:
        """List the samples that could not be read so far, by this process and its workers."""
        return self._is_bad.nonzero().flatten().tolist()

    def why(self, index: int) -> str:
        """Say what is wrong with a sample."""
        try:
            self._dataset[index]
        except UserError as error:
            return str(error)
        return f"{self.describe(index)}: could not be read at first; check the disk"

    def __getitem__(self, key: SampleKey | int) -> Any:
        """Return the sample, or what takes its place; None where it is left out.

        Raises:
            UserError: If more than the allowed number cannot be read.
        """
        asked = sample_index(key)
        for step in range(len(self)):
            index = (asked + step) % len(self)
            if not self._is_bad[index]:
                try:
                    return self._dataset[key._replace(index=index) if isinstance(key, SampleKey) else index]
                except UserError as error:
                    self._mark(index, error)
            if self._split == "val":
                return None
        raise UserError(f"no image of {self._split} can be read: {self.why(asked)}")

    def collate(self, samples: Sequence[Any]) -> Any:
        """Make a batch of the samples that are there; None of none."""
        there = [sample for sample in samples if sample is not None]
        return self._dataset.collate(there) if there else None

    def _mark(self, index: int, error: UserError) -> None:
        self._is_bad[index] = True
        count = int(self._is_bad.sum())
        if count > self._max_bad:
            raise UserError(too_many(count, self._max_bad, str(error))) from error


def bad_of_all(dataset: TolerantDataset, world_size: int) -> dict[str, str]:
    """Give what any process of the group could not read so far: image -> what is wrong; all call it."""
    own = {dataset.describe(index): dataset.why(index) for index in dataset.bad_indices()}
    shares = [own] * world_size
    if world_size > 1:
        dist.all_gather_object(shares, own)
    return {name: why for share in shares for name, why in share.items()}


def tolerant(dataset: TaskDataset, split: Split, max_bad: int) -> TaskDataset:
    """Let a data set pass over samples that cannot be read, if any may be."""
    return TolerantDataset(dataset, split, max_bad) if max_bad else dataset


def too_many(count: int, max_bad: int, message: str) -> str:
    """Say that more samples than allowed cannot be read."""
    return f"{count} images cannot be used, data.max_bad allows {max_bad}; the last: {message}"
