"""The best evaluations of a run: their order, how many are known, and when to wait no longer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from mscsa.evaluation.top1 import Accuracy
from mscsa.training.ranking import Ranking


def taken(ranking: Ranking, *scores: float | None) -> list[bool]:
    first = ranking.num_since_best + (ranking.best.get("step", 0))
    entries = ({"step": first + i, "score": score} for i, score in enumerate(scores, start=1))
    return [ranking.take(entry) for entry in entries]


def steps(ranking: Ranking) -> list[int]:
    return [entry["step"] for entry in ranking.entries]


def test_the_earlier_comes_first_among_equals() -> None:
    ranking = Ranking("top1", keep=3)
    assert ranking.best == {}
    assert taken(ranking, 20.0, 60.0, 60.0, 30.0, 10.0) == [True, True, False, False, False]
    assert steps(ranking) == [2, 3, 4]


@pytest.mark.parametrize(("monitor", "best"), [("loss", 2), ("top5", 1)])
def test_less_is_better_of_a_loss_alone(monitor: str, best: int) -> None:
    ranking = Ranking(monitor)
    taken(ranking, 0.9, 0.1, 0.5)
    assert steps(ranking) == [best]


@pytest.mark.parametrize("none", [None, float("nan")])
def test_a_score_without_value_is_worse_than_any(none: float | None) -> None:
    ranking = Ranking("loss", keep=9)
    assert taken(ranking, none, 1e9, none, 3.0) == [True, True, False, True]
    assert steps(ranking) == [4, 2, 1, 3]


def test_it_is_over_after_so_many_evaluations_without_a_better_one() -> None:
    ranking = Ranking("top1", patience=2)
    over = []
    for step, score in enumerate((5.0, 4.0, 6.0, 6.0, 5.0), start=1):
        soon = ranking.may_be_over
        ranking.take({"step": step, "score": score})
        assert soon or not ranking.is_over
        over.append(ranking.is_over)
    assert over == [False, False, False, False, True]
    assert not Ranking("top1").may_be_over


def test_a_checkpoint_keeps_it() -> None:
    ranking = Ranking("top1", keep=2, patience=3)
    taken(ranking, 5.0, 9.0, 7.0, 6.0)
    state: dict[str, Any] = json.loads(json.dumps(ranking.state_dict()))
    again = Ranking("top1", keep=2, patience=3)
    again.load_state_dict(state)
    assert again.entries == ranking.entries and again.num_since_best == 2
    assert taken(again, 8.0) == [False] and steps(again) == [2, 5] and again.is_over


def test_a_checkpoint_of_an_older_version_knows_the_best_alone() -> None:
    ranking = Ranking("top1", keep=2)
    ranking.load_state_dict({"best": {}, "seconds": 1.0})
    assert ranking.best == {}
    ranking.load_state_dict({"best": {"step": 4, "score": 7.0}, "seconds": 1.0})
    assert steps(ranking) == [4] and ranking.num_since_best == 0


def test_an_evaluation_that_is_done_again_counts_once() -> None:
    ranking = Ranking("top1", keep=3)
    taken(ranking, 5.0, 4.0)
    ranking.take({"step": 2, "score": 4.0})
    assert steps(ranking) == [1, 2]


def test_it_looks_at_the_score_it_is_told() -> None:
    scores = Accuracy(top1=1.0, top5=2.0, loss=3.0, num_samples=4)
    assert [Ranking(name).value(scores) for name in ("top1", "top5", "loss")] == [1.0, 2.0, 3.0]


def test_patience_counts_an_evaluation_that_is_done_again_once() -> None:
    ranking = Ranking("top1", patience=3)
    taken(ranking, 5.0, 4.0)
    ranking.uncount_last()
    ranking.take({"step": 2, "score": 4.0})
    assert ranking.num_since_best == 1
    taken(best_last := Ranking("top1", patience=3), 4.0, 5.0)
    best_last.uncount_last()
    best_last.take({"step": 2, "score": 5.0})
    assert best_last.num_since_best == 0
