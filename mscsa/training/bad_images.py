"""Which images could not be read: agreed on by all processes, counted over the run, listed in a file."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
import torch.distributed as dist

from mscsa.data.tolerance import TolerantDataset, bad_of_all, too_many
from mscsa.errors import UserError
from mscsa.files import write_text
from mscsa.training.run_folder import BAD_IMAGES

logger = logging.getLogger(__name__)


class BadImages(pl.Callback):
    """List what was replaced or left out, and end the run once it is more than allowed.

    Must come before `SaveLast`, which keeps the list.
    """

    def __init__(self, folder: Path, sets: Sequence[TolerantDataset], max_bad: int) -> None:
        """Keep what to look at.

        Args:
            folder: Folder of the run.
            sets: Images for training and validation.
            max_bad: Most images of each that may be unreadable.
        """
        self.path = folder / BAD_IMAGES
        self.sets = dict(zip(("train", "val"), sets, strict=True))
        self.max_bad = max_bad
        self._found: dict[str, dict[str, str]] = {"train": {}, "val": {}}
        self._told = {"train": 0, "val": 0}

    def state_dict(self) -> dict[str, Any]:
        """Give what was found so far: split -> image -> what is wrong."""
        return {"found": self._found}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take what was found before a resume."""
        self._found = state_dict["found"]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Look for new ones among what the loaders have read."""
        self._look(trainer, "train")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look through what the evaluation has read."""
        self._look(trainer, "val")

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how many there were."""
        counts = [f"{len(found)} of {split}" for split, found in self._found.items() if found]
        if counts and trainer.is_global_zero:
            logger.warning("%s images could not be used; %s lists them", " and ".join(counts), self.path)

    def _look(self, trainer: pl.Trainer, split: str) -> None:
        """Gather what any process has found.

        Raises:
            UserError: In all processes, if they are too many.
        """
        dataset, found = self.sets[split], self._found[split]
        own = dataset.bad_indices()
        is_new = len(own) > self._told[split]
        if not _any(trainer, is_new):
            return
        self._told[split] = len(own)
        before = set(found)
        found.update(bad_of_all(dataset, trainer.world_size))
        if trainer.is_global_zero:
            self._write(split, [name for name in found if name not in before])
        if len(found) > self.max_bad:
            raise UserError(too_many(len(found), self.max_bad, list(found.values())[-1]))

    def _write(self, split: str, new: list[str]) -> None:
        done = "another image takes its place" if split == "train" else "it is left out of the scores"
        for name in new:
            logger.warning("%s; %s", self._found[split][name], done)
        lines = [
            f"{split}\t{name}\t{why}" for split, found in self._found.items() for name, why in found.items()
        ]
        write_text(self.path, "\n".join(lines) + "\n")


def _any(trainer: pl.Trainer, here: bool) -> bool:
    """Say whether something is so in any process."""
    if trainer.world_size == 1:
        return here
    flag = torch.tensor(int(here), device=trainer.strategy.root_device)
    dist.all_reduce(flag, op=dist.ReduceOp.MAX)
    return bool(flag)
