"""The sweep's page says what its file says."""

from __future__ import annotations

import json

from benchmarks import timm_sweep


def test_the_page_is_what_the_file_says() -> None:
    content = json.loads((timm_sweep.RESULTS / "timm_sweep.json").read_text(encoding="utf-8"))
    assert (timm_sweep.RESULTS / "timm_sweep.md").read_text(encoding="utf-8") == timm_sweep.report(content)


def test_a_module_counts_what_passes_and_at_which_sizes() -> None:
    passing = {"module": "net", "result": "pass", "strides": [4, 8], "parameters": 2, "non-square": "64x96"}
    fixed = {**passing, "parameters": 1, "non-square": "the backbone refuses 64x96: no"}
    failing = {"module": "net", "result": "fail", "reason": "broken"}
    (row,) = timm_sweep.module_table({"a": passing, "b": fixed, "c": failing})[2:]
    assert row == "| net | 2 of 3 | any for 1, else its own | 4 8 | `b` |"
    (row,) = timm_sweep.module_table({"b": fixed})[2:]
    assert row == "| net | 1 of 1 | its own alone | 4 8 | `b` |"
