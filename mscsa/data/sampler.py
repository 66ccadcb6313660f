"""Which sample comes when: a shuffled order that can be entered at any batch, and an exact eval split.

The order is a function of (seed, epoch) alone. Resuming a run therefore needs two numbers, the
epoch and the batch, and no generator state.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch.utils.data import Sampler

from mscsa.data.seeding import derive_seed
from mscsa.errors import UserError


class SampleKey(NamedTuple):
    """One draw of one sample: its image, and what its augmentation is seeded with."""

    epoch: int
    """Pass over the data, from 0."""
    position: int
    """Place in the epoch's global order, from 0; differs between repeats of one image."""
    index: int  # type: ignore[assignment]  # hides tuple.index, which nothing needs
    """Sample of the data set."""


class ResumableBatchSampler(Sampler[list[SampleKey]]):
    """Yield this process's share of each global batch, as lists of `SampleKey`.

    Order of an epoch: the samples are permuted by (seed, epoch), each is repeated `repeats` times
    in a row, and the first `num_samples` entries are kept: position p holds sample
    `permutation[p // repeats]`. So an epoch has as many steps for any `repeats`, and with repeats r
    it shows ceil(num_samples / r) of the images, r times each, as the sampler of DeiT and timm does
    (Hoffer et al. 2020); different epochs show different images.

    The entries are cut into steps of `batch_size`, each step into `accumulate` consecutive batches;
    entries that do not fill a step are dropped. Of each batch, process r takes every
    `world_size`-th entry from the r-th on: together the processes see the same global batch
    for any `world_size`, and repeats of an image fall to different processes.

    Each iteration runs the next epoch: the first one epoch `start_epoch` from batch `start_batch`
    to its end, later ones whole epochs. `len` is always that of a whole epoch.

    Raises:
        UserError: If the samples do not fill one step, or the step does not divide evenly.
        ValueError: If the start lies outside an epoch, or a count is not positive.
    """

    def __init__(
        self,
        num_samples: int,
        batch_size: int,
        *,
        seed: int,
        repeats: int = 1,
        rank: int = 0,
        world_size: int = 1,
        accumulate: int = 1,
        start_epoch: int = 0,
        start_batch: int = 0,
    ) -> None:
        counts = {"batch_size": batch_size, "repeats": repeats, "accumulate": accumulate}
        for name, count in counts.items():
            if count < 1:
                raise UserError(f"{name} {count} is not possible; give 1 or more")
        _check_rank(rank, world_size)
        shares = world_size * accumulate
        if batch_size % shares:
            raise UserError(
                f"batch_size {batch_size} does not divide over {world_size} process(es) x "
                f"{accumulate} accumulated batch(es); give a multiple of {shares}"
            )
        if num_samples < batch_size:
            raise UserError(
                f"the training set has {num_samples} images, fewer than one batch of {batch_size}; "
                f"add images or lower batch_size to at most {num_samples}"
            )
        self.num_samples = num_samples
        self.batch_size = batch_size // accumulate
        self.seed = seed
        self.repeats = repeats
        self.rank = rank
        self.world_size = world_size
        self.num_batches = num_samples // batch_size * accumulate
        if start_epoch < 0 or not 0 <= start_batch < self.num_batches:
            raise ValueError(
                f"cannot start at epoch {start_epoch}, batch {start_batch}: the epoch must be >= 0 "
                f"and the batch in [0, {self.num_batches}); a finished epoch starts the next at 0"
            )
        self._next_epoch = start_epoch
        self._next_batch = start_batch

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever the first iteration starts."""
        return self.num_batches

    def __iter__(self) -> Iterator[list[SampleKey]]:
        # A generator claims its epoch at the first `next`, not at `iter`: a DataLoader with workers
        # calls `iter` twice and reads from the second one only.
        epoch, start = self._next_epoch, self._next_batch
        self._next_epoch, self._next_batch = epoch + 1, 0
        order = self._order(epoch)
        for batch in range(start, self.num_batches):
            first = batch * self.batch_size
            positions = range(first + self.rank, first + self.batch_size, self.world_size)
            yield [SampleKey(epoch, p, order[p // self.repeats]) for p in positions]

    def _order(self, epoch: int) -> list[int]:
        generator = torch.Generator().manual_seed(derive_seed("order", self.seed, epoch))
        return torch.randperm(self.num_samples, generator=generator).tolist()


class EvalSampler(Sampler[int]):
    """Yield every `world_size`-th sample from `rank` on: each sample once over all processes.

    Nothing is padded, so processes may get one sample more or less than others, or none.
    """

    def __init__(self, num_samples: int, rank: int = 0, world_size: int = 1) -> None:
        _check_rank(rank, world_size)
        self._indices = range(rank, num_samples, world_size)

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[int]:
        return iter(self._indices)


def _check_rank(rank: int, world_size: int) -> None:
    if not 0 <= rank < world_size:
        raise ValueError(f"rank {rank} of {world_size} processes: rank must be in [0, world_size)")
