"""Tables of what a trained classifier says, and of what is wrong with its data."""

from __future__ import annotations

from collections.abc import Sequence

from mscsa.data import Problem
from mscsa.evaluation import Accuracy, Prediction
from mscsa.tools.report import Table


def accuracy_table(checkpoint: str, accuracy: Accuracy) -> Table:
    """Lay out a measured accuracy."""
    figures = (
        f"{accuracy.top1:.2f}",
        f"{accuracy.top5:.2f}",
        f"{accuracy.loss:.4f}",
        str(accuracy.num_samples),
    )
    return Table(
        title="Validation",
        columns=("checkpoint", "top-1 %", "top-5 %", "loss (nats)", "images"),
        rows=[(checkpoint, *figures)],
    )


def predictions_table(predictions: Sequence[Prediction]) -> Table:
    """Lay out predictions, a line per class; images without one are left out."""
    return Table(
        title="Predictions",
        columns=("image", "class", "probability %"),
        rows=[
            (prediction.path if rank == 0 else "", name, f"{100 * probability:.1f}")
            for prediction in predictions
            for rank, (name, probability) in enumerate(prediction.classes)
        ],
        num_text_columns=2,
    )


def problems_table(root: str, problems: Sequence[Problem]) -> Table:
    """Lay out the problems of an image folder."""
    return Table(
        title=f"{len(problems)} problems in {root}",
        columns=("path", "problem", "what to do"),
        rows=[(problem.path, problem.what, problem.remedy) for problem in problems],
        num_text_columns=3,
    )
