"""One training run of a comparison: where it is, and how far."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.errors import UserError
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.run_files import LAST_IMAGES, LAST_WEIGHTS, METRICS, RESULT


@dataclass(frozen=True, kw_only=True)
class Run:
    """One arm with one seed."""

    arm: str
    """`baseline`, `control`, the name of a neck, or `mscsa`."""
    seed: int
    recipe_name: str
    config: Path
    """Recipe file of the arm."""
    folder: Path
    """Where `mscsa train` writes."""
    log: Path
    """What it prints."""
    epochs: int | None
    """Length in passes over the data, for the progress; None where it is given in steps."""
    steps: int | None
    """Length in optimiser steps, where it is given or shorter."""
    threads: int | None
    """CPU threads that the recipe asks for; None where it leaves the choice."""
    metric: str
    """Main score of the task: a column of `metrics.csv` after `val_`."""
    metric_label: str
    """What messages call it."""

    @property
    def label(self) -> str:
        """What messages call it."""
        return f"{self.arm}, seed {self.seed}"

    @property
    def weights(self) -> Path:
        """Its model after the last step, once it is finished."""
        return self.folder / LAST_WEIGHTS

    @property
    def result(self) -> dict[str, Any] | None:
        """What it came to; None until it is finished."""
        path = self.folder / RESULT
        return json.loads(path.read_text()) if path.exists() else None

    def images(self, kind: type[ImageCounts]) -> ImageCounts:
        """Read what its last evaluation counted of each image, once it is finished.

        Raises:
            UserError: If that is not there, as in runs of older versions, or not of this kind.
        """
        path = self.folder / LAST_IMAGES
        if not path.exists():
            raise UserError(
                f"the run {self.label} has not kept its counts by image ({path.name}): it is of an older "
                f"version; remove {self.folder} and compare again"
            )
        return kind.load(path)

    def metrics(self) -> list[dict[str, str]]:
        """Rows of its `metrics.csv` so far; a last one that is being written is left out."""
        path = self.folder / METRICS
        if not path.exists():
            return []
        text = path.read_text()
        rows = csv.DictReader(text[: text.rfind("\n") + 1].splitlines())
        return [row for row in rows if None not in row.values()]

    def curve(self) -> list[tuple[float, float]]:
        """Evaluations so far: (epochs done, main score in %)."""
        column = f"val_{self.metric}"
        return [(float(row["epoch"]), float(row[column])) for row in self.metrics() if row[column]]

    def progress(self) -> float:
        """Share that is done."""
        rows = self.metrics()
        if not rows:
            return 0.0
        by_step = float(rows[-1]["step"]) / self.steps if self.steps else 0.0
        by_epoch = float(rows[-1]["epoch"]) / self.epochs if self.epochs else 0.0
        return min(1.0, max(by_epoch, by_step))
