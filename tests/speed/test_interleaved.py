"""Models timed in turn: the order of rounds, and their reduction to medians and spreads."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from mscsa.errors import UserError
from mscsa.speed import interleaved
from mscsa.speed.interleaved import compare_speed, summarize, time_interleaved
from mscsa.speed.steps import StepOptions


def test_summary_of_known_times() -> None:
    baseline = [[0.010, 0.012, 0.010]] * 5
    model = [[0.020], [0.020], [0.020], [0.020], [0.020]]
    comparison = summarize([baseline, model], "inference", 4)
    (ratio,), first = comparison.ratios, comparison.timings[0]
    assert ratio.median == pytest.approx(2.0)
    assert ratio.spread == pytest.approx(0.0)
    assert ratio.is_stable
    assert first.median_ms == pytest.approx(10.0)
    assert first.images_per_s == pytest.approx(400.0)
    assert first.calls == 15


def test_percentiles_of_the_calls() -> None:
    """1 to 101 ms: the 95th percentile is that of 96 ms."""
    calls = [[i / 1000] for i in range(1, 102)]
    (timing, _) = summarize([calls, calls], "inference", 1).timings
    found = (timing.p10_ms, timing.median_ms, timing.p90_ms, timing.p95_ms)
    assert found == pytest.approx((11.0, 51.0, 91.0, 96.0))


def test_a_ratio_that_wanders_is_called_unstable() -> None:
    model = [[0.010], [0.011], [0.012], [0.013], [0.014]]
    (ratio,) = summarize([[[0.010]] * 5, model], "inference", 1).ratios
    assert ratio.median == pytest.approx(1.2)
    assert ratio.range == pytest.approx((1.0, 1.4))
    assert not ratio.is_stable


def test_load_on_all_arms_cancels_in_the_ratios() -> None:
    load = [1.0, 3.0, 1.0, 2.0, 5.0]
    arms = [[[seconds * x] for x in load] for seconds in (0.010, 0.015, 0.030)]
    ratios = summarize(arms, "inference", 1).ratios
    assert [ratio.median for ratio in ratios] == pytest.approx([1.5, 3.0])
    assert all(ratio.is_stable for ratio in ratios)


def test_rounds_alternate_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "_ROUND_S", 0.0)
    monkeypatch.setattr(interleaved, "_WARM_UP_S", 0.0)
    calls: list[str] = []

    def step(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    times = time_interleaved([step(name) for name in "abc"], 4, lambda: None)
    order = [name for name, previous in zip(calls, ["", *calls[:-1]], strict=True) if name != previous]
    # Warm-up of all three, then a b c, c b a, a b c, c b a.
    assert order == ["a", "b", "c", "a", "b", "c", "b", "a", "b", "c", "b", "a"]
    assert [len(rounds) for rounds in times] == [4, 4, 4]


def test_a_first_call_that_compiles_is_no_warm_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds, and half a second of quick calls follows before anything is timed."""
    now, calls = [0.0], [0]

    def step() -> None:
        now[0] += 10.0 if calls[0] == 0 else 1 / 64
        calls[0] += 1

    monkeypatch.setattr(interleaved.time, "perf_counter", lambda: now[0])
    (times,) = time_interleaved([step], 5, lambda: None, lambda: now[0])
    assert calls[0] - sum(map(len, times)) == 1 + 32
    assert [len(rounds) for rounds in times] == [13] * 5


def test_numbers_out_of_range_are_refused() -> None:
    model = nn.Identity()
    with pytest.raises(UserError, match="rounds=4 given"):
        compare_speed([model, model], (32, 32), rounds=4)
    with pytest.raises(UserError, match="batch sizes"):
        compare_speed([model, model], (32, 32), batch_sizes=())
    with pytest.raises(UserError, match="threads=0"):
        compare_speed([model, model], (32, 32), threads=0)


def test_a_batch_that_does_not_fit_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def build_step(*_: object) -> None:
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(interleaved, "build_step", build_step)
    with pytest.raises(UserError, match="inference with batch 16 does not fit into the memory of cpu"):
        compare_speed([nn.Identity(), nn.Identity()], (32, 32), batch_sizes=(16,))


def test_a_graph_that_cannot_be_is_refused_before_anything_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "build_step", lambda *given: pytest.fail("something was built"))
    options = StepOptions(device="cuda", cuda_graph=True)
    with pytest.raises(UserError, match="a CUDA graph asked for of a training step"):
        compare_speed([nn.Identity(), nn.Identity()], (8, 8), options=options)
