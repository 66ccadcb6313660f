"""The data of a run, as Lightning asks for it: each process its share, from the run's position on."""

from __future__ import annotations

import lightning.pytorch as pl
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from mscsa.data.contract import TaskDataset
from mscsa.data.loading import ImageLoader, build_eval_loader, build_train_loader
from mscsa.data.sampler import ResumableBatchSampler
from mscsa.recipes.length import epoch_length
from mscsa.recipes.spec import Recipe
from mscsa.training.interrupt import leave_signals_to_parent


class RunData(pl.LightningDataModule):
    """Training and validation set of a run."""

    def __init__(self, recipe: Recipe, train: TaskDataset, val: TaskDataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.train_dataset = train
        self.val_dataset = val
        self._train_loader: ImageLoader | None = None
        self._val_loader: ImageLoader | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch."""
        return epoch_length(self.recipe, len(self.train_dataset))

    @property
    def waited_s(self) -> float:
        """Seconds that training has waited for batches so far."""
        return 0.0 if self._train_loader is None else self._train_loader.waited_s

    def train_dataloader(self) -> ImageLoader:
        """Build the loader from where the run stands.

        Lightning asks after it has restored a checkpoint. The position is taken from the number of
        optimiser steps, the one counter that is right in every checkpoint.
        """
        trainer = self.trainer
        assert trainer is not None, "Lightning attaches the trainer before it asks for data"
        accumulate = self.recipe.run.accumulate
        epoch, step = divmod(trainer.global_step, self.steps_per_epoch)
        sampler = ResumableBatchSampler(
            len(self.train_dataset),
            self.recipe.data.batch_size,
            repeats=self.recipe.augment.repeats,
            seed=self.recipe.run.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            accumulate=accumulate,
            start_epoch=epoch,
            start_batch=step * accumulate,
        )
        workers = self.recipe.data.workers
        self._train_loader = build_train_loader(self.train_dataset, sampler, workers=workers)
        self._train_loader.worker_init_fn = leave_signals_to_parent
        return self._train_loader

    def val_loader(self) -> ImageLoader:
        """Give the loader of this process's share of the validation set.

        Not `val_dataloader`: the evaluation is ours, not Lightning's (`callbacks.Evaluate`).
        """
        trainer = self.trainer
        assert trainer is not None
        if self._val_loader is None:
            self._val_loader = build_eval_loader(
                self.val_dataset,
                self.recipe.data,
                rank=trainer.global_rank,
                world_size=trainer.world_size,
            )
            self._val_loader.worker_init_fn = leave_signals_to_parent
        return self._val_loader

    def close(self) -> None:
        """End the loaders' workers; otherwise the process waits for them when it exits."""
        for loader in (self._train_loader, self._val_loader):
            workers = None if loader is None else loader._iterator
            if isinstance(workers, _MultiProcessingDataLoaderIter):
                workers._shutdown_workers()
