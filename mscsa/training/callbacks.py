"""What happens around the steps: evaluation, export of weights, log lines."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from torch import nn
from torch.optim import Optimizer

from mscsa.assembly.weights_file import WeightsInfo
from mscsa.checkpoints.saving import save_weights
from mscsa.evaluation.scores import (
    SCORES,
    Scores,
    describe_scores,
    format_score,
    measure,
    score_names,
    score_values,
)
from mscsa.recipes.spec import Recipe
from mscsa.run_files import BEST, LAST_IMAGES, LAST_WEIGHTS
from mscsa.signals import Interrupted, name_of
from mscsa.training.checkpointing import SaveLast
from mscsa.training.display import STEP_LINE, Display
from mscsa.training.lost_weights import LostWeights
from mscsa.training.metrics_log import BY_WEIGHTS, VAL
from mscsa.training.module import TrainingModule
from mscsa.training.moving_average import MovingAverage
from mscsa.training.ranking import Ranking
from mscsa.training.run_folder import KEPT, kept_name
from mscsa.training.sharding import whole_model

logger = logging.getLogger(__name__)

OTHER = {BEST: "best_other.safetensors", LAST_WEIGHTS: "last_other.safetensors"}
"""Where the worse of moving average and weights themselves are kept, beside the better."""
_LONG_WAIT_S, _LARGE_WAIT = 30.0, 0.2
"""Seconds, and share of the time, spent waiting for images above which the end of a run says so."""

Kind = Literal["average", "raw"]
"""Weights of a run with a moving average: that, or the weights themselves."""
_NAMES: dict[Kind, str] = {"average": "moving average", "raw": "weights without average"}


@dataclass(frozen=True)
class Evaluated:
    """Weights and what they came to."""

    kind: Kind
    model: nn.Module
    scores: Scores


class Evaluate(pl.Callback):
    """Evaluate every `eval_every` epochs and at the end, log it, and export the weights.

    The evaluation runs here and not in Lightning's validation loop, so that `mscsa eval` and training
    count with the same code, and a run that is stopped in the middle of one evaluates again when
    it is resumed. With a moving average both it and the weights themselves are evaluated; the better
    of the two, the average among equals, is what the run reports and exports. The run ends here, too, when
    its patience does.
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
        display: Display,
        lost: LostWeights,
    ) -> None:
        """Keep what to evaluate and where to write.

        Args:
            folder: Folder of the run.
            info: What the files of weights say about themselves.
            total_steps: Optimiser steps of the whole run.
            resumed_step: Step of the checkpoint that this session goes on from; 0 for a new run.
            average: What to evaluate beside the weights themselves; None for a run without.
            save_last: What to do when a signal arrives during an evaluation.
            display: Where to show how far an evaluation is.
            lost: Files of weights that are to be written again.
        """
        self.folder = folder
        self.recipe = recipe
        self.info = info
        self.total_steps = total_steps
        self.resumed_step = resumed_step
        self.average = average
        self.save_last = save_last
        self.display = display
        self.lost = lost
        self.evaluated_step = 0
        """Optimiser step of the last finished evaluation."""
        self.latest: dict[str, Any] = {}
        """Its result, the fields of the task's scores."""
        run = recipe.run
        self.ranking = Ranking(
            run.monitor or SCORES[recipe.model.task].MAIN, keep=run.keep, patience=run.patience
        )
        """The best evaluations."""
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
            "seconds": self.seconds,
            **self.ranking.state_dict(),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the progress of a checkpoint."""
        self.evaluated_step = state_dict["evaluated_step"]
        self.latest = state_dict["latest"]
        self.ranking.load_state_dict(state_dict)
        self._seconds_before = state_dict["seconds"]
        if self.lost.repeats(self.evaluated_step, self.resumed_step):
            self.evaluated_step -= 1
            self.ranking.uncount_last()
        if BEST in self.lost.names:
            self.ranking.forget_best()

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Say whether the run is to be evaluated after this many optimiser steps."""
        epochs, rest = divmod(step, steps_per_epoch)
        return step >= self.total_steps or (rest == 0 and epochs % self.recipe.run.eval_every == 0)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Evaluate where the run was stopped before it could; the weights are restored by now.

        Not later: where the last step is done, Lightning leaves the fit without a further hook.

        Raises:
            Interrupted: If a signal arrived meanwhile; the checkpoint is as it was.
        """
        assert isinstance(pl_module, TrainingModule)
        step = self.resumed_step
        is_open = step > self.evaluated_step and self.is_due(step, pl_module.steps_per_epoch)
        if is_open and not self._evaluate(trainer, pl_module, step):
            signum = pl_module.agree_on_stop()
            raise Interrupted(signum, f"stopped by {name_of(signum)} in the evaluation of step {step}")
        self._end_if_over(trainer)

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
            self.save_last.save_and_leave(trainer, pl_module.agree_on_stop())
        self._end_if_over(trainer)

    def _end_if_over(self, trainer: pl.Trainer) -> None:
        if not self.ranking.is_over or self.evaluated_step >= self.total_steps:
            return
        trainer.should_stop = True
        if trainer.is_global_zero:
            logger.info(
                "the run ends here: no better %s in %d evaluations (run.patience)",
                self._label[0],
                self.ranking.num_since_best,
            )

    @property
    def _label(self) -> tuple[str, str]:
        """What people call the score by which evaluations are ranked, and its unit."""
        return SCORES[self.recipe.model.task].LABELS[self.ranking.monitor]

    def _evaluate(self, trainer: pl.Trainer, module: TrainingModule, step: int) -> bool:
        """Evaluate, log and export; False if a signal cut it short."""
        models: dict[Kind, nn.Module] = {"raw": module.model}
        if self.average is not None:
            models = {"average": self.average.model, **models}
        found = []
        for kind, model in models.items():
            label = _NAMES[kind] if len(models) > 1 else ""
            with whole_model(trainer, model) as whole:
                scores = self._measure(trainer, module, whole, step, label)
            if scores is None:
                return False
            found.append(Evaluated(kind, whole, scores))
        ranking = self.ranking
        found.sort(key=lambda each: -ranking.worth(ranking.value(each.scores)))  # stable: first the average
        if found[0].scores.images is not None:
            found[0].scores.images.save(self.folder / LAST_IMAGES)
        epoch = step / module.steps_per_epoch
        self._log(trainer, found, epoch, step)
        self._export(trainer, found, epoch, step)
        self.evaluated_step = step
        self.latest = score_values(found[0].scores)
        return True

    def _measure(
        self, trainer: pl.Trainer, module: TrainingModule, model: nn.Module, step: int, label: str
    ) -> Scores | None:
        if trainer.world_size > 1:
            # Each process has batch statistics of its own since its last step; what is exported, and
            # evaluated, is the first one's.
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)
        loader = trainer.datamodule.val_loader()  # type: ignore[attr-defined]
        with torch.compiler.set_stance("force_eager"), self.display.evaluation(len(loader), label) as advance:

            def is_stopped() -> bool:  # asked after each batch
                advance()
                return module.stop.signum != 0

            return measure(
                self.recipe.model.task,
                model,
                loader,
                device=module.device,
                precision=self.recipe.run.precision,
                stop=is_stopped,
                with_images=step >= self.total_steps or self.ranking.may_be_over,
            )

    def _log(self, trainer: pl.Trainer, found: list[Evaluated], epoch: float, step: int) -> None:
        scores = found[0].scores
        named = {VAL + name: getattr(scores, name) for name in score_names(type(scores))}
        if len(found) > 1:
            name, value = self.ranking.monitor, self.ranking.value
            named |= {BY_WEIGHTS.format(each.kind, name): value(each.scores) for each in found}
        values = {name: value for name, value in named.items() if value is not None}
        for each in trainer.loggers:
            each.log_metrics({"epoch": epoch, **values}, step)
        if trainer.is_global_zero:
            logger.info("epoch %g: %s%s", round(epoch, 2), describe_scores(scores), self._beside(found))

    def _beside(self, found: list[Evaluated]) -> str:
        """Say what the other weights came to."""
        if len(found) == 1:
            return ""
        (better, other), (label, unit) = found, self._label
        score = format_score(self.ranking.value(other.scores), unit)
        return f" ({_NAMES[better.kind]}; {_NAMES[other.kind]}: {label} {score} {unit})"

    def _export(self, trainer: pl.Trainer, found: list[Evaluated], epoch: float, step: int) -> None:
        score = self.ranking.value(found[0].scores)
        is_best = self.ranking.take({"epoch": epoch, "step": step, "score": score, "weights": found[0].kind})
        if not trainer.is_global_zero:
            return
        if is_best and score is None:
            logger.warning(
                "%s has no value on these images: the first evaluation counts as the best", self._label[0]
            )
        for place in (BEST, LAST_WEIGHTS) if is_best else (LAST_WEIGHTS,):
            for name, each in zip((place, OTHER[place]), found, strict=False):
                self._save(each, self.folder / name, epoch, step)
        if self.ranking.keep > 1:
            self._keep(found[0], epoch, step)

    def _keep(self, evaluated: Evaluated, epoch: float, step: int) -> None:
        """Keep the weights if they are among the best, and then remove those that no longer are."""
        kept = {kept_name(entry["step"]): entry["step"] for entry in self.ranking.entries}
        folder = self.folder / KEPT
        for name, of_step in kept.items():
            if of_step == step:
                self._save(evaluated, folder / name, epoch, step)
        for path in folder.glob("step_*.safetensors"):
            if path.name not in kept:
                path.unlink()

    def _save(self, evaluated: Evaluated, path: Path, epoch: float, step: int) -> None:
        result = {"epoch": epoch, "step": step, "weights": evaluated.kind, **score_values(evaluated.scores)}
        info = replace(self.info, provenance={**self.info.provenance, "result": result})
        save_weights(evaluated.model, path, info.to_metadata())


class LogSteps(pl.Callback):
    """Log loss, learning rate, throughput and waits every so many steps and at the last, and show each step.

    Must come after `Evaluate`, which may end the run.
    """

    def __init__(
        self,
        every_steps: int,
        batch_size: int,
        total_steps: int,
        display: Display,
        waited_s: Callable[[], float],
    ) -> None:
        """Keep what to log.

        Args:
            every_steps: Optimiser steps between two entries.
            batch_size: Images per optimiser step.
            total_steps: Optimiser steps of the whole run.
            display: Where to show how far the run is.
            waited_s: Gives the seconds for which the loop has waited for batches so far.
        """
        self.every_steps = every_steps
        self.batch_size = batch_size
        self.total_steps = total_steps
        self.display = display
        self.waited_s = waited_s
        self._losses: list[float] = []
        self._step = 0
        self._lr = 0.0
        self._since = (0, 0.0)
        self._waited_before = self._all_waited = self._all_seconds = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Give the losses since the last entry, so that a resumed run logs the same means."""
        return {"losses": list(self._losses)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the losses of a checkpoint."""
        self._losses = state_dict["losses"]

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log what is left where the run ends early; its evaluation is done before this."""
        assert isinstance(pl_module, TrainingModule)
        if trainer.should_stop and self._losses:
            self._log(trainer, self._step / pl_module.steps_per_epoch)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restart the clock, so that evaluation time is not taken for training time."""
        self._restart_clock(trainer)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock where a run is resumed within an epoch."""
        self._step = trainer.global_step
        self._restart_clock(trainer)
        if trainer.is_global_zero:
            self.display.start(self._step, self.total_steps)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say so where training mostly waited for images."""
        share = self._all_waited / max(self._all_seconds, 1e-9)
        if trainer.is_global_zero and self._all_waited > _LONG_WAIT_S and share > _LARGE_WAIT:
            logger.warning(
                "%.0f %% of the training time went into waiting for images: more --data.workers, smaller "
                "files or a faster disk shorten it",
                100 * share,
            )

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: Optimizer
    ) -> None:
        """Note the learning rate of the step; afterwards there is the next one's."""
        self._lr = max(group["lr"] for group in optimizer.param_groups)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Log, if it is time."""
        assert isinstance(pl_module, TrainingModule)
        self._losses.append(pl_module.loss_value)
        if trainer.global_step == self._step:
            return
        self._step = trainer.global_step
        epoch = self._step / pl_module.steps_per_epoch
        self.display.advance(self._step, f"epoch {epoch:.2f}, loss {pl_module.loss_value:.4f}")
        if self._step % self.every_steps == 0 or self._step >= self.total_steps:
            self._log(trainer, epoch)

    def _log(self, trainer: pl.Trainer, epoch: float) -> None:
        steps, start = self._since
        seconds = time.monotonic() - start
        waited = self.waited_s() - self._waited_before
        self._all_waited += waited
        self._all_seconds += seconds
        values = {
            "epoch": epoch,
            "lr": self._lr,
            "train_loss": sum(self._losses) / len(self._losses),
            "images_per_s": (self._step - steps) * self.batch_size / seconds,
            "data_wait": waited / seconds,
        }
        for each in trainer.loggers:
            each.log_metrics(values, self._step)
        if trainer.is_global_zero:
            self._write_line(values)
        self._losses.clear()
        self._restart_clock(trainer)

    def _restart_clock(self, trainer: pl.Trainer) -> None:
        self._since = (trainer.global_step, time.monotonic())
        self._waited_before = self.waited_s()

    def _write_line(self, values: Mapping[str, float]) -> None:
        logger.info(
            "epoch %.2f, step %d of %d: loss %.4f, lr %.2e, %.1f images/s (%.0f %% waiting), %s left",
            values["epoch"],
            self._step,
            self.total_steps,
            values["train_loss"],
            values["lr"],
            values["images_per_s"],
            100 * values["data_wait"],
            self.display.time_left,
            extra=STEP_LINE,
        )
