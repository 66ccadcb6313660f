"""A model against its backbone: real runs for sanity, never for speed."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from mscsa.cost.model_pair import build_pair
from mscsa.report import plain_text
from mscsa.speed import interleaved
from mscsa.speed.bench import BenchResult, bench_json, bench_model, bench_tables
from mscsa.speed.steps import StepOptions

DETECTORS = ("mask_rcnn", "cascade_mask_rcnn", "retinanet", "deformable_detr")

TINY: dict[str, Any] = {"name": "test_resnet", "dense": False, "budget": 0.5, "fields": {"pool_stride": 8}}


@pytest.fixture(scope="module")
def result() -> BenchResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interleaved, "_ROUND_S", 0.02)
        patch.setattr(interleaved, "_WARM_UP_S", 0.02)
        return bench_model(
            TINY,
            (32, 32),
            batch_sizes=(2, 4),
            modes=("inference", "training"),
            options=StepOptions(),
            rounds=5,
            threads=1,
            with_memory=False,
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
        assert len(comparison.timings) == 2 and len(comparison.ratios) == 1
        for timing in comparison.timings:
            assert 0 < timing.p10_ms <= timing.median_ms <= timing.p90_ms <= timing.p95_ms
            assert timing.images_per_s == pytest.approx(1000 * comparison.batch_size / timing.median_ms)
            assert timing.calls >= 5
        (ratio,) = comparison.ratios
        low, high = ratio.range
        assert low <= ratio.median <= high


def test_json_says_what_was_measured_on(result: BenchResult) -> None:
    content = json.loads(json.dumps(bench_json(result)))
    assert content["machine"]["threads"] == 1
    assert content["machine"]["device"] == "cpu"
    assert {"torch", "timm", "mscsa"} <= set(content["machine"]["versions"])
    first = content["comparisons"][0]
    assert first["is_stable"] in (True, False)
    assert first["is_tie"] == (abs(first["ratio"] - 1) <= content["tie_within"] == 0.05)
    assert first["ratio_range"][0] <= first["ratio"] <= first["ratio_range"][1] and first["spread"] >= 0
    assert first["model"]["median_ms"] > 0 and first["baseline"]["calls"] >= 5
    assert (first["mode"], first["batch_size"], first["rounds"]) == ("inference", 2, 5)
    assert (content["baseline"], content["model"]) == ("test_resnet", "mscsa_test_resnet")


def test_tables_show_both_arms_with_units(result: BenchResult) -> None:
    tables = bench_tables(result)
    assert len(tables) == 2
    text = plain_text(tables[0])
    assert "p50 ms" in text and "p95 ms" in text and "before" in text and "eager" in text
    assert "images/s" in text and "peak MiB" in text
    assert text.count("mscsa_test_resnet") == 2
    assert "float32" in text and "contiguous" in text


def test_a_tie_is_called_one(result: BenchResult) -> None:
    first = result.comparisons[0]
    (ratio,) = first.ratios
    near = replace(first, ratios=(replace(ratio, median=0.96),))
    far = replace(first, ratios=(replace(ratio, median=0.94),))
    texts = [plain_text(bench_tables(replace(result, comparisons=(each,)))[0]) for each in (near, far)]
    assert "x0.960 (tie)" in texts[0] and "x0.940" in texts[1] and "(tie)" not in texts[1]


def bench_detector(head: str, patch: pytest.MonkeyPatch, **options: Any) -> BenchResult:
    patch.setattr(interleaved, "_ROUND_S", 0.0)
    patch.setattr(interleaved, "_WARM_UP_S", 0.0)
    return bench_model(
        {**TINY, "head": head},
        (64, 64),
        batch_sizes=(1,),
        options=StepOptions(),
        rounds=5,
        threads=1,
        **options,
    )


@pytest.mark.slow
def test_a_detector_is_timed_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_detector("retinanet", monkeypatch, modes=("inference", "training"), with_memory=False)
    assert [(c.mode, c.batch_size) for c in result.comparisons] == [("inference", 1), ("training", 1)]
    assert "64x64 px under retinanet" in plain_text(bench_tables(result)[0])
    inference, training = result.comparisons
    assert training.timings[1].median_ms > inference.timings[1].median_ms


@pytest.mark.long
@pytest.mark.parametrize("head", DETECTORS)
def test_time_and_memory_of_each_detector(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    result = bench_detector(head, monkeypatch, modes=("inference", "training"), with_memory=True)
    assert len(result.comparisons) == 2
    pair = build_pair(**TINY, head=head, size=(64, 64))
    weights = sum(p.numel() * p.element_size() for p in pair.baseline.parameters()) / 2**20
    peaks = {(p.is_model, p.mode): p.mebibytes for p in result.memory}
    assert all(peaks[is_model, "training"] > 4 * weights for is_model in (False, True))
    assert all(peaks[is_model, "inference"] > weights for is_model in (False, True))
