"""What a run came to is plain values, as `result.json` holds them."""

from __future__ import annotations

import json
from dataclasses import asdict, fields

from mscsa.training.result import RunResult


def test_it_goes_through_json_unchanged() -> None:
    values = {"str": "raw", "int": 3, "float": 0.5, "float | None": None, "dict[str, Any]": {"top1": 1.5}}
    result = RunResult(**{each.name: values[str(each.type)] for each in fields(RunResult)})  # type: ignore[arg-type]
    assert RunResult(**json.loads(json.dumps(asdict(result)))) == result
