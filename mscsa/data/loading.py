"""Loaders of batches: in the order of a sampler, by worker processes whose errors stay one line."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch.utils.data import DataLoader, Dataset

from mscsa.data.contract import Batch, TaskDataset
from mscsa.data.sampler import EvalSampler, ResumableBatchSampler
from mscsa.errors import UserError
from mscsa.recipes.spec import DataSpec
from mscsa_runtime.machine import num_cores


class ImageLoader(DataLoader[Batch]):
    """A `DataLoader` of a `TaskDataset` whose workers' `UserError`s arrive as they were raised: one line.

    Attributes:
        waited_s: Seconds that whoever takes its batches has waited for them, in all passes.

    Args:
        dataset: What is read.
        workers: Processes that read; with 0 this one does.
        lives_on: Whether the workers do, from one pass to the next.
        order: What says which samples come when, as `DataLoader` takes it.
    """

    def __init__(self, dataset: TaskDataset, workers: int, *, lives_on: bool = True, **order: Any) -> None:
        super().__init__(
            cast(Dataset[Any], dataset),
            collate_fn=dataset.collate,
            num_workers=workers,
            persistent_workers=workers > 0 and lives_on,
            pin_memory=torch.cuda.is_available(),
            **order,
        )
        self.waited_s = 0.0

    def check_worker_number_rationality(self) -> None:
        """Say nothing of workers and cores at each pass; a run says it once (`too_many_workers`)."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        try:
            # None: a batch all of whose samples are left out (`TolerantDataset`).
            yield from (batch for batch in self._timed(super().__iter__) if batch is not None)
            return
        except UserError as error:
            kind, message = type(error), _without_traceback(error)
            # The traceback would keep the failed pass and its workers alive; workers forked later
            # would inherit them and take seconds to end.
            traceback.clear_frames(error.__traceback__)
        self._iterator = None
        raise kind(message)

    def _timed(self, start_pass: Callable[[], Iterator[Batch]]) -> Iterator[Batch]:
        since = time.monotonic()
        batches = start_pass()  # starts the workers
        for batch in batches:
            self.waited_s += time.monotonic() - since
            yield batch
            since = time.monotonic()


def build_train_loader(dataset: TaskDataset, sampler: ResumableBatchSampler, *, workers: int) -> ImageLoader:
    """Return this process's loader of training batches.

    Args:
        dataset: The training set.
        sampler: Its order, and where in the run the first batch lies.
        workers: Processes that read; with 0 this one does.
    """
    return ImageLoader(dataset, workers, batch_sampler=sampler)


def build_eval_loader(
    dataset: TaskDataset, data: DataSpec, *, rank: int = 0, world_size: int = 1
) -> ImageLoader:
    """Return this process's loader of evaluation batches: over all processes each sample once.

    Its workers end with each pass: beside those of training they would only take memory.
    """
    sampler = EvalSampler(len(dataset), rank, world_size)
    return ImageLoader(
        dataset, data.workers, lives_on=False, batch_size=data.eval_batch_size, sampler=sampler
    )


def too_many_workers(workers: int, processes: int = 1) -> str | None:
    """Say that loaders have more workers than there are cores, or None where they have not.

    Args:
        workers: Of each process (`data.workers`).
        processes: On this machine.
    """
    cores = num_cores()
    if workers * processes <= cores:
        return None
    of_all = f" in each of {processes} processes" if processes > 1 else ""
    return (
        f"data.workers {workers}{of_all} are more than the {cores} cores of this machine: fewer may be faster"
    )


def _without_traceback(error: UserError) -> str:
    """Undo what torch does to a worker's exception: its message becomes the whole traceback."""
    kind = type(error)
    return str(error).rpartition(f"{kind.__module__}.{kind.__qualname__}: ")[2].strip()
