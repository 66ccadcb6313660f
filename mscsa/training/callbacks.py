"""What happens around the steps: moving average, evaluation, export of weights, log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch.distributed as dist
from lightning.pytorch.callbacks import RichProgressBar, WeightAveraging
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.checkpoints.saving import save_weights
from mscsa.evaluation.scores import Scores, describe_scores, measure, score_names, score_values
from mscsa.recipes.spec import Recipe
from mscsa.training.checkpointing import SaveLast
from mscsa.training.metrics_log import VAL
from mscsa.training.module import TrainingModule
from mscsa.training.run_folder import LAST_IMAGES

logger = logging.getLogger(__name__)

BEST = "best.safetensors"
LAST_WEIGHTS = "last.safetensors"


class MovingAverage(WeightAveraging):
    """Exponential moving average of parameters and buffers, updated after each optimiser step."""

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=get_ema_multi_avg_fn(decay))

    @property
    def model(self) -> nn.Module:
        """The averaged model."""
        assert self._average_model is not None, "Lightning builds it when fit begins"
        averaged = self._average_model.module
        assert isinstance(averaged, TrainingModule)
        return averaged.model


class Evaluate(pl.Callback):
    """Evaluate every `eval_every` epochs and at the end, log it, and export the weights.

    The evaluation runs here and not in Lightning's validation loop, so that `mscsa eval` and training
    count with the same code, and a run that is stopped in the middle of one evaluates again when
    it is resumed.
    """

    def __init__(
        self,
        folder: Path,
        recipe: Recipe,
        info: WeightsInfo,
        *,
        total_steps: int,
        resumed_step: int,
        average: MovingAverage | None,
        save_last: SaveLast,
    ) -> None:
        """Keep what to evaluate and where to write.

        Args:
            folder: Folder of the run.
            info: What the files of weights say about themselves.
            total_steps: Optimiser steps of the whole run.
            resumed_step: Step of the checkpoint that this session goes on from; 0 for a new run.
            average: Whose weights to evaluate and export; None for the model's own.
            save_last: What to do when a signal arrives during an evaluation.
        """
        self.folder = folder
        self.recipe = recipe
        self.info = info
        self.total_steps = total_steps
        self.resumed_step = resumed_step
        self.average = average
        self.save_last = save_last
        self.evaluated_step = 0
        """Optimiser step of the last finished evaluation."""
        self.latest: dict[str, Any] = {}
        """Its result, the fields of the task's scores."""
        self.best: dict[str, float] = {}
        """`epoch`, `step` and `score` of the best evaluation; the earliest among equals."""
        self._seconds_before = 0.0
        self._started = time.monotonic()

    @property
    def seconds(self) -> float:
        """Time of the run so far, without what was lost to a kill."""
        return self._seconds_before + time.monotonic() - self._started

    def state_dict(self) -> dict[str, Any]:
        """Give the progress that a checkpoint keeps."""
        return {
            "evaluated_step": self.evaluated_step,
            "latest": self.latest,
            "best": self.best,
            "seconds": self.seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the progress of a checkpoint."""
        self.evaluated_step = state_dict["evaluated_step"]
        self.latest = state_dict["latest"]
        self.best = state_dict["best"]
        self._seconds_before = state_dict["seconds"]

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Say whether the run is to be evaluated after this many optimiser steps."""
        epochs, rest = divmod(step, steps_per_epoch)
        return step >= self.total_steps or (rest == 0 and epochs % self.recipe.run.eval_every == 0)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate where the run was stopped before it could; the weights are restored by now.

        Not later: where the last step is done, Lightning leaves the fit without a further hook.
        """
        assert isinstance(pl_module, TrainingModule)
        step = self.resumed_step
        if step > self.evaluated_step and self.is_due(step, pl_module.steps_per_epoch):
            self._evaluate(trainer, pl_module, step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate, if it is due.

        Raises:
            Interrupted: If a signal arrived meanwhile; the evaluation is then still to be done.
        """
        assert isinstance(pl_module, TrainingModule)
        step = trainer.global_step
        if not self.is_due(step, pl_module.steps_per_epoch):
            return
        if not self._evaluate(trainer, pl_module, step):
            self.save_last.save_and_leave(trainer, pl_module.stop.signum)

    def _evaluate(self, trainer: pl.Trainer, module: TrainingModule, step: int) -> bool:
        """Evaluate, log and export; False if a signal cut it short."""
        model = module.model if self.average is None else self.average.model
        if trainer.world_size > 1:
            # Each process has batch statistics of its own since its last step; what is exported, and
            # evaluated, is the first one's.
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
        scores = measure(
            self.recipe.model.task,
            model,
            trainer.datamodule.val_loader(),  # type: ignore[attr-defined]
            device=module.device,
            precision=self.recipe.run.precision,
            stop=lambda: module.stop.signum != 0,
            with_images=step >= self.total_steps,
        )
        if scores is None:
            return False
        if scores.images is not None:
            scores.images.save(self.folder / LAST_IMAGES)
        epoch = step / module.steps_per_epoch
        self._log(trainer, scores, epoch, step)
        self._export(trainer, model, scores, epoch, step)
        self.evaluated_step = step
        self.latest = score_values(scores)
        return True

    def _log(self, trainer: pl.Trainer, scores: Scores, epoch: float, step: int) -> None:
        found = {VAL + name: getattr(scores, name) for name in score_names(type(scores))}
        values = {name: value for name, value in found.items() if value is not None}
        for each in trainer.loggers:
            each.log_metrics({"epoch": epoch, **values}, step)
        if trainer.is_global_zero:
            logger.info("epoch %g: %s", round(epoch, 2), describe_scores(scores))

    def _export(self, trainer: pl.Trainer, model: nn.Module, scores: Scores, epoch: float, step: int) -> None:
        score = getattr(scores, scores.MAIN)
        is_best = not self.best or score > self.best["score"]
        if is_best:
            self.best = {"epoch": epoch, "step": step, "score": score}
        if not trainer.is_global_zero:
            return
        result = {"epoch": epoch, "step": step, **score_values(scores)}
        info = replace(self.info, provenance={**self.info.provenance, "result": result})
        for name in (BEST, LAST_WEIGHTS) if is_best else (LAST_WEIGHTS,):
            save_weights(model, self.folder / name, info.to_metadata())


class ProgressBar(RichProgressBar):
    """Lightning's bar without the logger's version, which says nothing here."""

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Give what stands beside the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return dict(metrics)


class LogSteps(pl.Callback):
    """Log loss, learning rate and throughput every so many steps; a plain line too where asked for."""

    def __init__(self, every_steps: int, batch_size: int, total_steps: int, *, lines: bool) -> None:
        """Keep what to log.

        Args:
            every_steps: Optimiser steps between two entries.
            batch_size: Images per optimiser step.
            total_steps: Optimiser steps of the whole run.
            lines: Also write lines, for where there is no progress bar.
        """
        self.every_steps = every_steps
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.lines = lines
        self._losses: list[float] = []
        self._step = 0
        self._since = (0, 0.0)

    def state_dict(self) -> dict[str, Any]:
        """Give the losses since the last entry, so that a resumed run logs the same means."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the losses of a checkpoint."""
        self._losses = state_dict["losses"]

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock, so that evaluation time is not taken for training time."""
        self._restart_clock(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock where a run is resumed within an epoch."""
        self._step = trainer.global_step
        self._restart_clock(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, if it is time."""
        assert isinstance(pl_module, TrainingModule)
        self._losses.append(pl_module.loss_value)
        pl_module.log("loss", pl_module.loss_value, prog_bar=True, logger=False, batch_size=self.batch_size)
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        if self._step % self.every_steps:
            return
        steps, start = self._since
        values = {
            "epoch": self._step / pl_module.steps_per_epoch,
            "lr": max(group["lr"] for group in trainer.optimizers[0].param_groups),
            "train_loss": sum(self._losses) / len(self._losses),
            "images_per_s": (self._step - steps) * self.batch_size / (time.monotonic() - start),
        }
        for each in trainer.loggers:
            each.log_metrics(values, self._step)
        if self.lines and trainer.is_global_zero:
            self._write_line(values)
        self._losses.clear()
        self._restart_clock(trainer)

    def _restart_clock(self, trainer: pl.Trainer) -> None:
        self._since = (trainer.global_step, time.monotonic())

    def _write_line(self, values: Mapping[str, float]) -> None:
        logger.info(
            "epoch %.2f, step %d of %d: loss %.4f, lr %.2e, %.1f images/s",
            values["epoch"],
            self._step,
            self.total_steps,
            values["train_loss"],
            values["lr"],
            values["images_per_s"],
        )
