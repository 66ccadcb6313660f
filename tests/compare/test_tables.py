"""A comparison laid out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mscsa.compare.tables import compare_json, comparison_tables
from mscsa.report import plain_text
from tests.compare.made import result


def test_table_shows_means_spreads_and_differences() -> None:
    text = "".join(plain_text(table) for table in comparison_tables(result((70.0, 72.0), (71.0, 74.0))))
    assert "71.00 ± 1.41" in text
    assert re.search(r"top-5 \(%\) +91.00 +92.50\n", text)
    assert "+1.50 ± 0.71" in text
    assert "+24.0 %" in text
    assert "x1.50" in text and "x0.67" in text
    assert "Latency at batch 64 is unstable" in text and "Latency at batch 1 is" not in text


def test_json_has_each_seed_and_what_it_was_trained_on(tmp_path: Path) -> None:
    folder = tmp_path / "baseline" / "seed0"
    folder.mkdir(parents=True)
    (folder / "environment.json").write_text(json.dumps({"sessions": [{"torch": "1"}, {"torch": "2"}]}))
    (tmp_path / "mscsa.yaml").write_text("name: scenes/net\n")
    content = compare_json(replace(result((70.0, 72.0), (71.0, 74.0)), out=tmp_path))
    assert json.loads(json.dumps(content))["difference"]["points"] == [1.0, 2.0]
    assert content["difference"]["macs_percent"] == pytest.approx(24)
    assert content["training_environment"] == {"torch": "2"}
    assert content["recipe"] == {"name": "scenes/net"}
    assert [each["is_stable"] for each in content["latency"]] == [True, False]
