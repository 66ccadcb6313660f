"""The page's table of latency says what the benchmark's file says, and forms that differ are not timed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from benchmarks import export_latency


def test_the_page_is_what_the_file_says() -> None:
    page = export_latency.PAGE.read_text(encoding="utf-8")
    result = json.loads(export_latency.FILE.read_text(encoding="utf-8"))
    assert export_latency.on_page(page, result) == page
    assert set(result["models"]) == set(export_latency.MODELS)
    forms = {
        export_latency.form_name(runtime, norms)
        for runtime in export_latency.RUNTIMES
        for norms in export_latency.NORMS
    }
    assert all(set(each["forms"]) == forms for each in result["models"].values())


@pytest.mark.slow
def test_forms_that_differ_are_not_timed() -> None:
    one = np.ones(100_000, np.float32)
    found = export_latency.measure({"torch": lambda: 1 * one, "onnx": lambda: one * 1}, rounds=5)
    assert found["torch"]["share"] == 1 and 0 < found["onnx"]["p50_ms"] <= found["onnx"]["p95_ms"]
    with pytest.raises(ValueError, match=r"onnx differs by 0\.01"):
        export_latency.measure({"torch": lambda: one, "onnx": lambda: 1.01 * one}, rounds=5)
