"""Timing a model against its backbone: the reduction exactly, real runs for sanity and never for speed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from mscsa.cost.model_pair import build_pair
from mscsa.report import plain_text
from mscsa.speed import bench
from mscsa.speed.bench import (
    BenchResult,
    bench_json,
    bench_model,
    bench_tables,
    compare_speed,
    summarize,
    time_interleaved,
)
from mscsa.speed.steps import StepOptions

DETECTORS = ("mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr")

TINY: dict[str, Any] = {"name": "test_resnet", "dense": False, "budget": 0.5, "fields": {"pool_stride": 8}}


@pytest.fixture(scope="module")
def result() -> BenchResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "_ROUND_S", 0.02)
        patch.setattr(bench, "_WARM_UP_S", 0.02)
        return bench_model(
            TINY,
            (32, 32),
            batch_sizes=(2, 4),
            modes=("inference", "training"),
            options=StepOptions(),
            rounds=5,
            threads=1,
            with_memory=True,
        )


def test_every_mode_and_batch_size_is_measured(result: BenchResult) -> None:
    assert [(c.mode, c.batch_size) for c in result.comparisons] == [
        ("inference", 2),
        ("inference", 4),
        ("training", 2),
        ("training", 4),
    ]
    for comparison in result.comparisons:
        assert comparison.rounds == 5
        for timing in (comparison.baseline, comparison.model):
            assert 0 < timing.p10_ms <= timing.median_ms <= timing.p90_ms
            assert timing.images_per_s == pytest.approx(1000 * comparison.batch_size / timing.median_ms)
            assert timing.calls >= 5
        low, high = comparison.ratio_range
        assert low <= comparison.ratio <= high


def test_peak_memory_holds_at_least_weights_and_optimizer(result: BenchResult) -> None:
    pair = build_pair(**TINY, size=(32, 32))
    peaks = {(p.is_model, p.mode, p.batch_size): p.mebibytes for p in result.memory}
    assert len(peaks) == 8
    for is_model, model in ((False, pair.baseline), (True, pair.model)):
        weights = sum(p.numel() * p.element_size() for p in model.parameters()) / 2**20
        assert peaks[is_model, "inference", 2] >= weights
        assert peaks[is_model, "training", 4] >= 4 * weights
        assert peaks[is_model, "training", 4] < 4 * weights + 500


def test_json_says_what_was_measured_on(result: BenchResult) -> None:
    content = json.loads(json.dumps(bench_json(result)))
    assert content["machine"]["threads"] == 1
    assert content["machine"]["device"] == "cpu"
    assert {"torch", "timm", "mscsa"} <= set(content["machine"]["versions"])
    assert content["comparisons"][0]["is_stable"] in (True, False)
    assert (content["baseline"], content["model"]) == ("test_resnet", "mscsa_test_resnet")


def test_tables_show_both_arms_with_units(result: BenchResult) -> None:
    tables = bench_tables(result)
    assert len(tables) == 2
    text = plain_text(tables[0])
    assert "median ms" in text and "images/s" in text and "peak MiB" in text
    assert text.count("mscsa_test_resnet") == 2
    assert "float32" in text and "contiguous" in text


def test_summary_of_known_times() -> None:
    baseline = [[0.010, 0.012, 0.010]] * 5
    model = [[0.020], [0.020], [0.020], [0.020], [0.020]]
    comparison = summarize([baseline, model], "inference", 4)
    assert comparison.ratio == pytest.approx(2.0)
    assert comparison.spread == pytest.approx(0.0)
    assert comparison.is_stable
    assert comparison.baseline.median_ms == pytest.approx(10.0)
    assert comparison.baseline.images_per_s == pytest.approx(400.0)
    assert comparison.baseline.calls == 15


def test_a_ratio_that_wanders_is_called_unstable() -> None:
    model = [[0.010], [0.011], [0.012], [0.013], [0.014]]
    comparison = summarize([[[0.010]] * 5, model], "inference", 1)
    assert comparison.ratio == pytest.approx(1.2)
    assert comparison.ratio_range == pytest.approx((1.0, 1.4))
    assert not comparison.is_stable


def test_load_on_both_arms_cancels_in_the_ratio() -> None:
    load = [1.0, 3.0, 1.0, 2.0, 5.0]
    comparison = summarize([[[0.010 * x] for x in load], [[0.015 * x] for x in load]], "inference", 1)
    assert comparison.ratio == pytest.approx(1.5)
    assert comparison.is_stable


def test_rounds_alternate_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "_ROUND_S", 0.0)
    monkeypatch.setattr(bench, "_WARM_UP_S", 0.0)
    calls: list[str] = []

    def step(name: str) -> Callable[[], None]:
        return lambda: calls.append(name)

    times = time_interleaved([step("a"), step("b")], 4, lambda: None)
    order = [name for name, previous in zip(calls, ["", *calls[:-1]], strict=True) if name != previous]
    # Warm-up of a and b, then a b, b a, a b, b a.
    assert order == ["a", "b", "a", "b", "a", "b", "a"]
    assert [len(rounds) for rounds in times] == [4, 4]


def test_numbers_out_of_range_are_refused() -> None:
    pair = build_pair(**TINY, size=(32, 32))
    with pytest.raises(ValueError, match="rounds=4 given"):
        compare_speed(pair.baseline, pair.model, (32, 32), rounds=4)
    with pytest.raises(ValueError, match="batch sizes"):
        compare_speed(pair.baseline, pair.model, (32, 32), batch_sizes=())
    with pytest.raises(ValueError, match="threads=0"):
        compare_speed(pair.baseline, pair.model, (32, 32), threads=0)


def bench_detector(head: str, patch: pytest.MonkeyPatch, **options: Any) -> BenchResult:
    patch.setattr(bench, "_ROUND_S", 0.0)
    patch.setattr(bench, "_WARM_UP_S", 0.0)
    return bench_model(
        {**TINY, "head": head},
        (64, 64),
        batch_sizes=(1,),
        options=StepOptions(),
        rounds=5,
        threads=1,
        **options,
    )


def test_a_detector_is_timed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_detector("retinanet", monkeypatch, modes=("inference", "training"), with_memory=False)
    assert [(c.mode, c.batch_size) for c in result.comparisons] == [("inference", 1), ("training", 1)]
    assert "64x64 px under retinanet" in plain_text(bench_tables(result)[0])
    assert result.comparisons[1].model.median_ms > result.comparisons[0].model.median_ms


@pytest.mark.slow
@pytest.mark.parametrize("head", DETECTORS)
def test_time_and_memory_of_each_detector(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_detector(head, monkeypatch, modes=("inference", "training"), with_memory=True)
    assert len(result.comparisons) == 2
    pair = build_pair(**TINY, head=head, size=(64, 64))
    weights = sum(p.numel() * p.element_size() for p in pair.baseline.parameters()) / 2**20
    peaks = {(p.is_model, p.mode): p.mebibytes for p in result.memory}
    assert all(peaks[is_model, "training"] > 4 * weights for is_model in (False, True))
    assert all(peaks[is_model, "inference"] > weights for is_model in (False, True))
