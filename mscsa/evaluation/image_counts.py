"""What each image gives to the main score of an evaluation, so that other samples can be scored."""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch.distributed as dist
from numpy.typing import NDArray

from mscsa.errors import UserError
from mscsa.evaluation.running import in_group
from mscsa.files import write_whole

Record = tuple[int, Any]
"""An image's place in the data set, and what was counted of it."""


@dataclass(frozen=True, eq=False)
class ImageCounts(ABC):
    """Counts by image, as arrays alone; each task has its own."""

    index: NDArray[np.int64]
    """Place of each image in the data set, ascending, (N,)."""

    @abstractmethod
    def scores(self, weights: NDArray[np.int64]) -> NDArray[np.float64]:
        """Take the main score of samples of the images.

        Args:
            weights: How often each image is in each sample, (R, N).
        Returns:
            In %, (R,); NaN where a sample has nothing to score.
        """

    @abstractmethod
    def truth(self) -> NDArray[np.int64] | None:
        """Give what the labels alone say of each image, by which runs on other data are told, (N, any).

        None if it was not kept: an older version wrote the file.
        """

    def save(self, path: Path) -> None:
        """Write the arrays, compressed, whole or not at all.

        Raises:
            UserError: If it cannot be written.
        """
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        known = {name: each for name, each in arrays.items() if each is not None}
        write_whole(path, lambda file: np.savez_compressed(file, **known))

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read what `save` wrote, without running code from it.

        Raises:
            UserError: If it is missing, damaged, or of another task.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                wanted = [each for each in fields(cls) if each.name in arrays or each.default is MISSING]
                return cls(**{each.name: arrays[each.name] for each in wanted})
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise UserError(
                f"{path} does not hold the counts by image of a run of this task ({type(error).__name__}): "
                "train the run again"
            ) from error


def gather_records(own: list[Record]) -> list[Record] | None:
    """Bring the records of all processes to the first, in the order of the data set; None in the others.

    Args:
        own: Of the images that this process has seen.
    """
    if in_group():
        is_first = dist.get_rank() == 0
        shares: list[Any] | None = [None] * dist.get_world_size() if is_first else None
        dist.gather_object(own, shares, dst=0)
        if shares is None:
            return None
        own = [record for share in shares for record in share]
    return sorted(own, key=lambda record: record[0])
