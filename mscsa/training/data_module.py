"""The data of a run, as Lightning asks for it: each process its share, from the run's position on."""

from __future__ import annotations

import lightning.pytorch as pl

from mscsa.data import ClassificationDataset, ImageLoader, build_eval_loader, build_train_loader
from mscsa.recipes.spec import Recipe


class ClassificationData(pl.LightningDataModule):
    """Training and validation set of a run."""

    def __init__(self, recipe: Recipe, train: ClassificationDataset, val: ClassificationDataset) -> None:
        super().__init__()
        self.recipe = recipe
        self.train_dataset = train
        self.val_dataset = val
        self._val_loader: ImageLoader | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps of an epoch; images that do not fill the last one are left out."""
        return len(self.train_dataset) // self.recipe.data.batch_size

    def train_dataloader(self) -> ImageLoader:
        """Build the loader from where the run stands.

        Lightning asks after it has restored a checkpoint. The position is taken from the number of
        optimiser steps, the one counter that is right in every checkpoint.
        """
        trainer = self.trainer
        assert trainer is not None, "Lightning attaches the trainer before it asks for data"
        accumulate = self.recipe.run.accumulate
        epoch, step = divmod(trainer.global_step, self.steps_per_epoch)
        return build_train_loader(
            self.train_dataset,
            self.recipe.data,
            self.recipe.augment,
            seed=self.recipe.run.seed,
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            accumulate=accumulate,
            start_epoch=epoch,
            start_batch=step * accumulate,
        )

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
        return self._val_loader
