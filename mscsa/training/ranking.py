"""Which evaluations of a run were the best, and whether a better one is still to be waited for."""

from __future__ import annotations

import math
from typing import Any

from mscsa.evaluation.scores import Scores, less_is_better


class Ranking:
    """The best evaluations so far, by one score; the earlier one comes first among equals.

    An entry has `epoch`, `step`, `score` and `weights` (whose: `raw` or `average`).
    """

    def __init__(self, monitor: str, *, keep: int = 1, patience: int | None = None) -> None:
        """Start without any.

        Args:
            monitor: Field of the scores.
            keep: How many of the best are known.
            patience: Evaluations in a row without a better one after which the run is over; None has no end.
        """
        self.monitor = monitor
        self.keep = keep
        self.patience = patience
        self.entries: list[dict[str, Any]] = []
        """The best first."""
        self.num_since_best = 0
        """Evaluations after the best one."""

    @property
    def best(self) -> dict[str, Any]:
        """The best entry; empty before the first evaluation."""
        return self.entries[0] if self.entries else {}

    @property
    def is_over(self) -> bool:
        """Whether patience is at its end."""
        return self.patience is not None and self.num_since_best >= self.patience

    @property
    def may_be_over(self) -> bool:
        """Whether the next evaluation may be the last."""
        return self.patience is not None and self.num_since_best + 1 >= self.patience

    def value(self, scores: Scores) -> float | None:
        """Take the score that is looked at; None where the images have nothing to score."""
        value: float | None = getattr(scores, self.monitor)
        return value

    def worth(self, score: float | None) -> float:
        """Turn a score into a number that grows as it gets better."""
        if score is None or math.isnan(score):
            return -math.inf
        return -score if less_is_better(self.monitor) else score

    def take(self, entry: dict[str, Any]) -> bool:
        """Put an evaluation in its place.

        Returns:
            Whether it is the best so far.
        """
        self.entries = [each for each in self.entries if each["step"] != entry["step"]]
        self.entries.append(entry)
        self.entries.sort(key=lambda each: (-self.worth(each["score"]), each["step"]))
        del self.entries[self.keep :]
        is_best = self.entries[0] is entry
        self.num_since_best = 0 if is_best else self.num_since_best + 1
        return is_best

    def uncount_last(self) -> None:
        """Let patience forget the last evaluation, which comes once more."""
        self.num_since_best = max(self.num_since_best - 1, 0)

    def forget_best(self) -> None:
        """Leave the best one out, whose weights are lost; the next evaluation is then the best."""
        self.entries = []

    def state_dict(self) -> dict[str, Any]:
        """Give what a checkpoint keeps."""
        return {"best": self.best, "kept": list(self.entries), "num_since_best": self.num_since_best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take what a checkpoint kept; one of an older version knows the best alone."""
        known = [state["best"]] if state["best"] else []
        self.entries = list(state.get("kept", known))[: self.keep]
        self.num_since_best = state.get("num_since_best", 0)
