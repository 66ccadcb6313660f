"""`metrics.csv`: one row per logged step and per evaluation, exact across resumes."""

from __future__ import annotations

import csv
import io
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities import rank_zero_only

from mscsa.errors import UserError
from mscsa.files import write_text

logger = logging.getLogger(__name__)

TRAIN_COLUMNS = ("step", "epoch", "lr", "train_loss", "images_per_s", "data_wait")
"""`step` counts optimiser steps, `epoch` passes over the data; `data_wait` is the share of
the time, 0 to 1, for which training waited for images."""

VAL = "val_"
"""Before the name of a score, in its column."""

BY_WEIGHTS = "{}_{}"
"""Column of the main score of moving average, and of weights without it: `average_top1`, `raw_top1`."""


class MetricsCsv(Logger):
    """Append rows, each on the disk at once.

    Lightning's CSVLogger deletes the previous rows when a run is resumed.
    """

    def __init__(
        self,
        path: Path,
        scores: Sequence[str],
        *,
        main: str | None = None,
        keep_train: int = 0,
        keep_val: int = 0,
    ) -> None:
        """Continue a file.

        Args:
            path: The file; made with its first row.
            scores: Names of the scores of an evaluation; each has a column, `val_` before it.
            main: The one of them that is noted of moving average and weights apart, in a run that has both.
            keep_train: Rows of training steps after this one are dropped: they will come again.
            keep_val: The same for evaluations.
        """
        super().__init__()
        self.path = path
        apart = () if main is None else tuple(BY_WEIGHTS.format(kind, main) for kind in ("average", "raw"))
        self.columns = (*TRAIN_COLUMNS, *(VAL + score for score in scores), *apart)
        self._keep = {"train_loss": keep_train, self.columns[len(TRAIN_COLUMNS)]: keep_val}

    @property
    def name(self) -> str:
        """Lightning asks for it; there is one such file per run."""
        return "metrics"

    @property
    def version(self) -> str:
        """As `name`."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Leave them to `config.yaml`."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Write one row.

        Raises:
            UserError: If it cannot be written.
        """
        try:
            if self._keep:
                self._drop_rows_to_come()
                self._keep = {}
            self._append({"step": step, **metrics})
        except OSError as error:
            raise UserError(
                f"cannot write {self.path}: {error.strerror}; free some space or make the folder "
                "writable, then resume"
            ) from error

    def _append(self, row: Mapping[str, float | None]) -> None:
        is_new = not self.path.exists()
        with self.path.open("a", newline="") as file:
            writer = csv.DictWriter(file, self.columns)
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def _drop_rows_to_come(self) -> None:
        rows = self._rows_so_far()
        if not rows:
            self.path.unlink(missing_ok=True)
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        writer.writeheader()
        writer.writerows(rows)
        write_text(self.path, text.getvalue())

    def _rows_so_far(self) -> list[dict[str, str]]:
        """Read the rows that stay; says so where they are lost, and keeps what there is in their place."""
        try:
            rows = [row for row in read_metrics(self.path) if self._is_kept(row)]
        except (KeyError, ValueError):  # no text, no such columns, no numbers
            rows = []
        is_lost = not rows and self._keep[self.columns[len(TRAIN_COLUMNS)]] > 0  # it had an evaluation
        if is_lost:
            aside = self.path.with_name(f"damaged_{self.path.name}")
            with suppress(FileNotFoundError):
                os.replace(self.path, aside)
            logger.warning(
                "%s is damaged or missing, its rows so far are lost: a new one is begun%s",
                self.path,
                f"; the old one is {aside.name}" if aside.exists() else "",
            )
        return rows

    def _is_kept(self, row: Mapping[str, str]) -> bool:
        return all(not row[kind] or int(row["step"]) <= last for kind, last in self._keep.items())


def read_metrics(path: Path) -> list[dict[str, str]]:
    """Read the whole rows of a `metrics.csv`; a last one that a kill cut off is left out."""
    if not path.exists():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    return [row for row in csv.DictReader(whole.splitlines()) if None not in row.values()]
