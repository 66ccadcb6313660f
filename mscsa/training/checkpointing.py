"""`last.ckpt`: written whole or not at all, read checked and without running code, resumed exactly."""

from __future__ import annotations

import os
import shutil
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import nn

from mscsa.errors import UserError
from mscsa.files import write_whole
from mscsa.recipes.spec import OptimSpec
from mscsa.run_files import LAST, PREVIOUS
from mscsa.signals import Interrupted, name_of
from mscsa.training.module import TrainingModule

DAMAGED = "damaged.ckpt"
"""What a damaged `last.ckpt` is called once the one before it is taken."""

_MOMENTS = {"adamw": 2, "sgd": 1, "momentum": 1, "rmsproptf": 2}
"""Tensors per parameter in the optimiser's state."""


class AtomicCheckpointIO(CheckpointIO):
    """Write to a temporary file beside the target, sync it, then rename it; the target before it is kept.

    Lightning's own way writes to the system's temporary folder and moves the file from there: across
    file systems that is a copy, which a kill cuts off on top of the previous checkpoint.
    """

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Write a checkpoint; the one in its place becomes `previous.ckpt`.

        Raises:
            UserError: If the folder cannot be written to or the disk is full; the previous
                checkpoint is then as it was.
        """
        folder = Path(path).parent
        if not folder.is_dir():  # deleted during the run: what else it held does not come back with it
            raise UserError(f"cannot write {path}: the folder {folder} is gone; start the run anew")
        try:
            write_whole(path, lambda file: torch.save(checkpoint, file), keep=folder / PREVIOUS)
        except RuntimeError as error:  # torch's writer, on a full disk
            raise UserError(
                f"cannot write {path}: {str(error).splitlines()[0]}; the previous checkpoint, if any, is "
                "unchanged: free some space, then resume"
            ) from error

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; `weights_only` is not asked for, since it is always true."""
        return read_checkpoint(path)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint."""
        Path(path).unlink(missing_ok=True)


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint of a run onto the CPU without running code from it.

    Raises:
        UserError: If it is missing, damaged, or no checkpoint of a run.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path} is not there, so there is nothing to resume: start anew in another folder")
    try:
        _check_sums(path)
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # damaged bytes fail in every way
        raise UserError(
            f"{path} cannot be read: it is damaged, or holds more than tensors and plain values; "
            "put a copy back, or start a new run from best.safetensors by model.checkpoint"
        ) from error
    if not isinstance(content, dict) or not {"mscsa", "loops", "global_step"} <= content.keys():
        raise UserError(
            f"{path} is no checkpoint of `mscsa train`; to start from weights, give best.safetensors of a "
            "run as model.checkpoint"
        )
    return content


def read_last(folder: Path) -> tuple[Path, dict[str, Any]]:
    """Read a run's last checkpoint, or the one before it if the last is missing or damaged.

    Returns:
        The file that was read, and its content.
    Raises:
        UserError: If neither can be read; says what is wrong with the last.
    """
    last, previous = folder / LAST, folder / PREVIOUS
    try:
        return last, read_checkpoint(last)
    except UserError:
        with suppress(UserError):
            return previous, read_checkpoint(previous)
        raise


def set_damaged_aside(folder: Path) -> None:
    """Rename a `last.ckpt` that cannot be read, so that the next save does not keep it."""
    with suppress(FileNotFoundError):  # a kill between two renames left none
        os.replace(folder / LAST, folder / DAMAGED)


def _check_sums(path: Path) -> None:
    """Compare each record of torch's zip archive with its CRC-32, which `torch.load` does not look at."""
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged is not None:
        raise zipfile.BadZipFile(f"{damaged} has another checksum")


class SaveLast(pl.Callback):
    """Save `last.ckpt` every so many steps, after each epoch, and when the run is to stop.

    Must come after the callbacks whose work of a step or an epoch the checkpoint shall hold.
    """

    def __init__(self, folder: Path, every_steps: int, identity: dict[str, Any]) -> None:
        """Keep what to save.

        Args:
            folder: Folder of the run.
            every_steps: Optimiser steps between two saves.
            identity: What a resumed run must agree with (`resuming.run_identity`).
        """
        self.path = folder / LAST
        self.every_steps = every_steps
        self.identity = identity
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals over; here, because Lightning registers its own handlers just before."""
        assert isinstance(pl_module, TrainingModule)
        pl_module.stop.install()
        self._step = trainer.global_step

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save if it is time, or if a signal arrived; the latter ends the run."""
        if trainer.global_step == self._step:  # between accumulated batches
            return
        self._step = trainer.global_step
        assert isinstance(pl_module, TrainingModule)
        if pl_module.agreed_stop:
            self.save_and_leave(trainer, pl_module.agreed_stop)
        if self._step % self.every_steps == 0:
            trainer.save_checkpoint(self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save with the epoch's evaluation in it."""
        trainer.save_checkpoint(self.path)

    def save_and_leave(self, trainer: pl.Trainer, signum: int) -> None:
        """Save and end the run.

        Raises:
            Interrupted: Always.
        """
        trainer.save_checkpoint(self.path)
        raise Interrupted(
            signum, f"stopped by {name_of(signum)} at step {trainer.global_step}; {self.path} is saved"
        )

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Add the run's identity, and say where in the run this is."""
        checkpoint["mscsa"] = self.identity
        assert isinstance(pl_module, TrainingModule)
        epoch, step = divmod(trainer.global_step, pl_module.steps_per_epoch)
        set_position(
            checkpoint["loops"]["fit_loop"],
            epoch=epoch,
            batch=step * trainer.accumulate_grad_batches,
            batches_before=trainer.global_step * trainer.accumulate_grad_batches,
            global_step=trainer.global_step,
        )


def set_position(
    fit_loop: dict[str, Any], *, epoch: int, batch: int, batches_before: int, global_step: int
) -> None:
    """Write a position in the run into the saved state of Lightning's loops.

    Lightning saves its counters as they happen to stand in the hook that saves, and guesses from
    their differences on resuming; at the end of an epoch it guesses wrong (2.6.6 takes a further
    batch into the finished epoch). The position follows from the number of optimiser steps alone,
    so it is written down plainly: `batch` batches of `epoch` are done, and nothing is in progress.
    """
    done = dict.fromkeys(("ready", "started", "processed", "completed"), epoch)
    begun = dict.fromkeys(("ready", "started"), epoch + (batch > 0))
    fit_loop["epoch_progress"] = {"total": done | begun, "current": done | begun}
    fit_loop["epoch_loop.batch_progress"] = {
        "total": dict.fromkeys(done, batches_before),
        "current": dict.fromkeys(done, batch),
        "is_last_batch": False,
    }
    fit_loop["epoch_loop.state_dict"] = {"_batches_that_stepped": global_step}


def remove_leftovers(folder: Path) -> None:
    """Delete the temporary files of a run that was killed while saving."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink(missing_ok=True)


def check_free_space(folder: Path, model: nn.Module, optim: OptimSpec, *, keep: int = 1) -> None:
    """Refuse to start where the run's checkpoints and weights would not fit.

    Args:
        keep: Of how many evaluations the weights are kept (`run.keep`).
    Raises:
        UserError: If the free space is less than their estimated size.
    """
    trained = sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    all_values = sum(v.numel() * v.element_size() for v in model.state_dict().values())
    copies = 1 if optim.ema_decay is None else 2
    # Last and previous checkpoint, the next one while it is written; best and last weights, with the average
    # those without it too.
    needed = 3 * (copies * all_values + _MOMENTS[optim.optimizer] * trained) + 2 * copies * all_values
    needed += keep * all_values if keep > 1 else 0
    existing = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise UserError(
            f"{folder}: {free / 2**20:.0f} MiB are free, a run of this model needs "
            f"{needed / 2**20:.0f} MiB for checkpoints and weights; free some space or give another folder"
        )
