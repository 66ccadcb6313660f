"""Where a run's numbers go beside `metrics.csv`: TensorBoard, Weights & Biases or MLflow, by name.

A resumed run goes on with the same record of its tracker, which a small file in its folder names.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from mscsa.errors import UserError
from mscsa.files import write_text
from mscsa.recipes.spec import Recipe
from mscsa.training.run_folder import TENSORBOARD, TRACKER

logger = logging.getLogger(__name__)

PROJECT = "mscsa"
"""Of W&B unless WANDB_PROJECT names one; experiment of MLflow unless MLFLOW_EXPERIMENT_NAME does."""

_ADVICE = {
    "wandb": "log in with `wandb login`, or set WANDB_MODE=offline",
    "mlflow": "see that MLFLOW_TRACKING_URI names what MLflow can write to",
    "tensorboard": "give a folder that can be written",
}


class Tracker:
    """A logger of Lightning's, started and ended with the run."""

    def __init__(self, recipe: Recipe, folder: Path, resumed_step: int | None) -> None:
        """Make the logger that `run.logger` names; nothing is written or sent before `start`.

        Args:
            recipe: Of the run.
            folder: Of the run.
            resumed_step: Step of the checkpoint that the run goes on from; None for a new run.
        Raises:
            UserError: If its package is not installed.
        """
        self.name = recipe.run.logger
        self._recipe = recipe
        self._folder = folder
        self.loggers: list[Logger] = []
        if self.name != "none":
            check_installed(self.name)
            known = None if resumed_step is None else _known_record(folder, self.name)
            self._is_new = known is None
            with _in_one_line(self.name):
                tracker = _MAKE[self.name](recipe, folder, known, resumed_step)
            self.loggers.append(_patient(tracker, self.name))

    def start(self) -> None:
        """Open the record and say in the folder which one it is; in the first process.

        Raises:
            UserError: If the tracker does not let us.
        """
        with _in_one_line(self.name):
            for each in self.loggers:
                self._open(each)

    def _open(self, tracker: Logger) -> None:
        _ = tracker.experiment  # type: ignore[attr-defined]
        if self.name == "tensorboard":
            return
        write_text(self._folder / TRACKER, json.dumps({self.name: tracker.version}) + "\n")
        if self._is_new:  # the settings of a record are not changed by a resume
            tracker.log_hyperparams(asdict(self._recipe))

    def end(self) -> None:
        """Send what is left; the next run of this process has a record of its own."""
        if self.name == "wandb":
            import wandb

            wandb.finish()


@contextmanager
def _in_one_line(name: str) -> Iterator[None]:
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a tracker raises what it likes
        raise UserError(
            f"run.logger {name} cannot be started ({_reason(error)}): {_ADVICE[name]}, or give "
            "--run.logger none"
        ) from error


def _reason(error: Exception) -> str:
    return (" ".join(str(error).split()) or type(error).__name__)[:200]


def _patient(tracker: Logger, name: str) -> Logger:
    """Let a tracker's failure, such as a server's that is gone, end no run: `metrics.csv` has all numbers."""
    said: list[Exception] = []

    def passing(call: Callable[..., None]) -> Callable[..., None]:
        def called(*arguments: Any, **options: Any) -> None:
            try:
                call(*arguments, **options)
            except Exception as error:  # a tracker raises what it likes
                if not said:
                    said.append(error)
                    what = "run.logger %s misses numbers, metrics.csv has them: %s"
                    logger.warning(what, name, _reason(error))

        return called

    tracker.log_metrics = passing(tracker.log_metrics)  # type: ignore[method-assign]
    tracker.finalize = passing(tracker.finalize)  # type: ignore[method-assign]
    return tracker


def check_installed(name: str) -> None:
    """See whether a tracker can be used.

    Raises:
        UserError: If its package is not installed.
    """
    if find_spec(name) is None:
        raise UserError(
            f"run.logger {name} needs the package {name}, which is not installed: pip install {name}, or "
            "give --run.logger none"
        )


def _known_record(folder: Path, name: str) -> str | None:
    """Give the record that the run has with a tracker; None if it had none, as before a change of tracker."""
    try:
        found = json.loads((folder / TRACKER).read_text()).get(name)
    except (OSError, ValueError, AttributeError):
        return None
    return found if isinstance(found, str) else None


def _run_name(recipe: Recipe) -> str:
    return f"{recipe.name}, seed {recipe.run.seed}"


def _tensorboard(recipe: Recipe, folder: Path, known: str | None, resumed_step: int | None) -> Logger:
    # Events after the checkpoint come again.
    purge_step = None if resumed_step is None else resumed_step + 1
    return TensorBoardLogger(
        folder, name="", version=TENSORBOARD, default_hp_metric=False, purge_step=purge_step
    )


def _wandb(recipe: Recipe, folder: Path, known: str | None, resumed_step: int | None) -> Logger:
    return WandbLogger(
        name=_run_name(recipe),
        save_dir=folder,
        id=known or secrets.token_hex(4),
        project=os.environ.get("WANDB_PROJECT", PROJECT),
    )


def _mlflow(recipe: Recipe, folder: Path, known: str | None, resumed_step: int | None) -> Logger:
    import mlflow

    return MLFlowLogger(
        experiment_name=os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
        run_name=_run_name(recipe),
        tracking_uri=mlflow.get_tracking_uri(),  # MLflow's own default; Lightning's is one it gave up
        run_id=known,
    )


_MAKE: dict[str, Callable[[Recipe, Path, str | None, int | None], Logger]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "mlflow": _mlflow,
}
