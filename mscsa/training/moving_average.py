"""A moving average of the weights whose decay grows with the run, so that a short run is not all start."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mscsa.training.module import TrainingModule
from mscsa.training.sharding import ShardedStrategy, gathered, local, shard

STALE_SHARE = 0.05
"""Share of the first step in an average without warm-up above which a run is called short for its decay."""


class MovingAverage(WeightAveraging):
    """Exponential moving average of parameters and buffers, updated after each optimiser step.

    The t-th update decays by min(decay, (1 + t) / (10 + t)), the rule of TensorFlow's and timm's averages:
    with a fixed decay d the first step would still have the share d^(steps - 1) at the end.
    """

    def __init__(self, decay: float) -> None:
        def mix(averages: list[Tensor], values: list[Tensor], count: Tensor | int) -> None:
            shares = [[local(each) for each in tensors] for tensors in (averages, values)]
            get_ema_multi_avg_fn(warmed_up(decay, int(count)))(*shares, count)

        super().__init__(multi_avg_fn=mix)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Cut up the average as the model is; until now it was whole, to be restored."""
        if isinstance(trainer.strategy, ShardedStrategy):
            shard(self.model, trainer.strategy.mesh)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Put the average into a checkpoint, whole."""
        super().on_save_checkpoint(trainer, pl_module, checkpoint)
        checkpoint["state_dict"] = gathered(checkpoint["state_dict"], is_kept=trainer.is_global_zero)

    @property
    def model(self) -> nn.Module:
        """The averaged model."""
        assert self._average_model is not None, "Lightning builds it when fit begins"
        averaged = self._average_model.module
        assert isinstance(averaged, TrainingModule)
        return averaged.model


def warmed_up(decay: float, update: int) -> float:
    """Give the decay of an update, counted from 1; the one before them copies."""
    return min(decay, (1 + update) / (10 + update))


def short_run_warning(decay: float, steps: int) -> str | None:
    """Say that a run is too short for its decay, or None where it is long enough."""
    share = decay**steps
    if share <= STALE_SHARE:
        return None
    return (
        f"optim.ema_decay {decay:g} is long for {steps} steps: without warm-up {100 * share:.0f} % of the "
        f"average would be its start; the decay grows to {warmed_up(decay, steps):.3g} instead, and the "
        "weights without average are evaluated too"
    )
