"""One training step of a model, whatever its task, as a LightningModule."""

from __future__ import annotations

import logging
import math
import random
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
import torch.distributed as dist
from timm.scheduler.scheduler import Scheduler
from torch import Tensor, nn
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from mscsa.data.problems import some_of
from mscsa.data.seeding import derive_seed
from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.folding import fold_frozen_norms, unfold_frozen_norms
from mscsa.frozen.backbone import frozen_prefix
from mscsa.recipes.length import run_length
from mscsa.recipes.spec import Recipe
from mscsa.training.freezing import freeze, hold_in_eval
from mscsa.training.interrupt import StopRequest
from mscsa.training.objectives import Images, Objective, Outcome
from mscsa.training.optimization import build_optimizer, build_scheduler
from mscsa.training.sharding import completed

logger = logging.getLogger(__name__)

_NAMED = 8
"""Samples that a message about a non-finite step names."""


class NonFiniteError(ArithmeticError):
    """The loss or a gradient became NaN or infinite; nothing of that step was kept."""


class TrainingModule(pl.LightningModule):
    """Loss, optimiser and schedule around a model.

    All that is random in a step (mixing, dropout, stochastic depth) is drawn from generators seeded
    by (seed, epoch, batch, rank), so that a resumed run draws what the uninterrupted one would have.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        objective: Objective,
        *,
        steps_per_epoch: int,
    ) -> None:
        """Take over the model: freeze, dtype and memory layout are set as the recipe says.

        Args:
            model: What is trained.
            objective: From a batch to its loss.
            steps_per_epoch: Optimiser steps of an epoch.
        Raises:
            UserError: If `model.freeze` names nothing, or the model has no gradient checkpointing.
        """
        super().__init__()
        frozen = (frozen_prefix(model),) if recipe.model.frozen else ()
        self._held = freeze(model, (*frozen, *recipe.model.freeze))
        if recipe.run.grad_checkpointing:
            _checkpoint_gradients(model, recipe.model.name)
        if recipe.run.compile:  # in place: keys stay, and the moving average's copy runs without
            (model.pyramid if isinstance(model, Detector) else model).compile()
        self._layout = torch.channels_last if recipe.run.channels_last else torch.contiguous_format
        self._input_dtype = torch.float64 if recipe.run.precision == "64-true" else torch.float32
        # Before Lightning converts it: the moving average is copied from the model as it is now.
        self.model = model.to(dtype=self._input_dtype, memory_format=self._layout)  # type: ignore[call-overload]
        self.recipe = recipe
        self.steps_per_epoch = steps_per_epoch
        self.stop = StopRequest()
        """Where signals arrive; all processes agree on it once per batch."""
        self.agreed_stop = 0
        """Signal that all processes stop for after this step; 0 for none."""
        self.is_extended = False
        """Whether the schedule is longer from here on than it was up to the checkpoint."""
        self.loss_value = math.nan
        """Loss of the last batch, the mean over all processes."""
        self.objective = objective
        self._indices: list[Tensor] = []
        self._counts: list[Tensor] = []
        self.train()

    def train(self, mode: bool = True) -> TrainingModule:
        """Set the mode of all but the frozen modules, which stay in eval mode."""
        super().train(mode)
        hold_in_eval(self.model, self._held)
        return self

    def on_fit_start(self) -> None:
        """Let convolutions do the work of frozen norms, now that no plugin exchanges modules any more."""
        if self.recipe.run.strategy != "fsdp":  # a norm and its convolution may be gathered apart
            fold_frozen_norms(self.model)

    def on_fit_end(self) -> None:
        """Leave the model as it was given."""
        unfold_frozen_norms(self.model)

    def forward(self, images: Images, *arguments: Any) -> Any:
        """Run the model on images in its dtype and memory layout."""
        if isinstance(images, Tensor):
            return self.model(images.to(dtype=self._input_dtype, memory_format=self._layout), *arguments)
        return self.model([image.to(dtype=self._input_dtype) for image in images], *arguments)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed every generator from the position in the run."""
        seed = derive_seed(
            "step", self.recipe.run.seed, self.trainer.current_epoch, batch_idx, self.global_rank
        )
        seed_generators(seed)

    def training_step(self, batch: tuple[Images, Any, Tensor], batch_idx: int) -> Tensor:
        """Return the loss of one batch of (images, targets, indices).

        Raises:
            NonFiniteError: On all processes, if it is not finite on any.
        """
        images, targets, indices = batch
        self._indices.append(indices)
        outcome = self.objective(self, images, targets)
        own_loss = outcome.loss.item()
        self.loss_value, self.agreed_stop = self._agree(own_loss)
        if not math.isfinite(self.loss_value):
            is_bad = not math.isfinite(own_loss)
            suspects = _suspects(outcome, indices) if is_bad else indices[:0]
            self._raise_non_finite("loss is not finite", suspects)
        return self._weighted(outcome.loss)

    def _weighted(self, loss: Tensor) -> Tensor:
        """Weigh the loss of a part of an accumulated batch by what it was divided by, as far as it is known.

        How much the whole batch has is known with its last part alone; `_rescale` divides by it.
        """
        count = self.model.loss_count if isinstance(self.model, Detector) else None
        if self.recipe.run.accumulate == 1 or count is None:
            return loss
        self._counts.append(count)
        return loss * (count.clamp(min=1) / self._counts[0].clamp(min=1))

    def _rescale(self, gradients: list[Tensor]) -> None:
        """Let gradients of accumulated parts be those of a batch whose losses are divided by its whole count.

        As they come, they are the mean of the parts' sums of losses, divided by the first one's count.
        """
        if not self._counts:
            return
        total = torch.stack(self._counts).sum().clamp(min=1)
        factor = len(self._counts) * self._counts[0].clamp(min=1) / total
        torch._foreach_mul_(gradients, factor.to(gradients[0].device))
        self._counts.clear()

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Check the gradients of a whole step, bring them to its count of objects, and clip their norm.

        Raises:
            NonFiniteError: If one is not finite, except in fp16, whose scaler skips such steps itself.
        """
        parameters = [p for p in self.model.parameters() if p.grad is not None]
        self._rescale([p.grad for p in parameters if p.grad is not None])
        norm = completed(get_total_norm([p.grad for p in parameters if p.grad is not None]))
        scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if not scaled and not math.isfinite(norm.item()):
            self._raise_non_finite("gradient is not finite", torch.cat(self._indices))
        self._indices.clear()
        if self.recipe.optim.clip_grad is not None:
            clip_grads_with_norm_(parameters, self.recipe.optim.clip_grad, norm)

    def configure_optimizers(self) -> Any:
        """Build optimiser and schedule; Lightning steps the schedule after each update."""
        optimizer = build_optimizer(self.model, self.recipe.optim)
        scheduler = build_scheduler(optimizer, self.recipe.optim, self.recipe.run, self.steps_per_epoch)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the schedule of a shorter run behind; other schedules go on from their saved state."""
        if self.is_extended:
            checkpoint["lr_schedulers"] = []

    def on_train_start(self) -> None:
        """Go over to the schedule of a run that became longer."""
        if not self.is_extended:
            return
        (optimizer,), step = self.trainer.optimizers, self.trainer.global_step
        before = max(group["lr"] for group in optimizer.param_groups)
        self.lr_scheduler_step(self.trainer.lr_scheduler_configs[0].scheduler, None)  # type: ignore[arg-type]
        after = max(group["lr"] for group in optimizer.param_groups)
        logger.info(
            "extended: from step %d on the learning rate is that of a run of %d steps: first %.2e, not %.2e",
            step + 1,
            run_length(self.recipe.run, self.steps_per_epoch),
            after,
            before,
        )

    def lr_scheduler_step(self, scheduler: Scheduler, metric: Any | None) -> None:  # type: ignore[override]
        """Set the learning rates of the next update."""
        scheduler.step_update(self.trainer.global_step)

    def _agree(self, loss: float) -> tuple[float, int]:
        """Give the mean loss of all processes and a signal that any got: all leave at the same step."""
        if self.trainer.world_size == 1:
            return loss, self.stop.signum
        of_process = torch.zeros(self.trainer.world_size, 2, device=self.device, dtype=torch.float64)
        of_process[self.global_rank, 0], of_process[self.global_rank, 1] = loss, self.stop.signum
        dist.all_reduce(of_process)
        return of_process[:, 0].mean().item(), int(of_process[:, 1].max())

    def agree_on_stop(self) -> int:
        """Give the signal that any process got, in all of them; 0 for none."""
        if self.trainer.world_size == 1:
            return self.stop.signum
        signum = torch.tensor(self.stop.signum, device=self.device)
        dist.all_reduce(signum, op=dist.ReduceOp.MAX)
        return int(signum)

    def _raise_non_finite(self, what: str, indices: Tensor) -> None:
        dataset = self.trainer.datamodule.train_dataset  # type: ignore[attr-defined]
        names = [dataset.describe(index) for index in indices.tolist()]
        if self.trainer.world_size > 1:
            shares: list[list[str]] = [[] for _ in range(self.trainer.world_size)]
            dist.all_gather_object(shares, names)
            names = [name for share in shares for name in share]
        raise NonFiniteError(
            f"{what} at step {self.trainer.global_step + 1} (epoch {self.trainer.current_epoch + 1}); "
            f"samples: {some_of(names, _NAMED)}; the last checkpoint is from before it: "
            "check these samples, or lower optim.lr or set optim.clip_grad"
        )


def _suspects(outcome: Outcome, indices: Tensor) -> Tensor:
    """Narrow a batch down to the samples that may have made its loss non-finite.

    Batch norm spreads one bad image over all outputs, so the images are looked at first.
    """
    for values in (outcome.images, outcome.outputs):
        if values is None:
            continue
        bad = torch.tensor([not bool(value.detach().isfinite().all()) for value in values])
        if bad.any():
            return indices[bad.to(indices.device)]
    return indices


def seed_generators(seed: int) -> None:
    """Seed python's, numpy's and torch's generators, those of accelerators included."""
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    torch.manual_seed(seed)


def _checkpoint_gradients(model: nn.Module, name: str) -> None:
    if not hasattr(model, "set_grad_checkpointing"):
        raise UserError(f"model {name} has no gradient checkpointing; leave run.grad_checkpointing off")
    model.set_grad_checkpointing()  # type: ignore[operator]
