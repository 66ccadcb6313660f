"""`mscsa demo`: what it says before it serves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import run
from tests.demo.shown import save_pair


@pytest.fixture
def serving(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be served, and how; nothing is."""
    given: list[dict[str, Any]] = []

    @contextmanager
    def served(demo: Any, **options: Any) -> Iterator[str]:
        given.append({"demo": demo, **options})
        yield f"http://{options['host']}:7860/"

    monkeypatch.setattr("mscsa.demo.serving.served", served)
    monkeypatch.setattr("mscsa.demo.serving.wait_for_end", lambda: None)
    return given


def test_it_says_what_is_shown_and_where(
    serving: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with_mscsa, without = map(str, save_pair("classification", tmp_path))
    limits = ("--max-megabytes", "5", "--max-megapixels", "7", "--device", "cpu")
    code, out, err = run(capsys, "demo", with_mscsa, "--baseline", without, *limits)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "http://127.0.0.1:7860/  (Ctrl-C ends it)"
    assert {name: serving[0][name] for name in ("host", "port", "share")} == {
        "host": "127.0.0.1",
        "port": None,
        "share": False,
    }
    shown = serving[0]["demo"]
    assert [each.title for each in shown.models] == ["test_resnet without MSCSA", "test_resnet with MSCSA"]
    assert (shown.limits.megabytes, shown.limits.megapixels) == (5, 7)


def test_whoever_lets_others_in_is_told(
    serving: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    _, without = save_pair("classification", tmp_path)
    for options in (("--share",), ("--host", "0.0.0.0", "--port", "80")):
        code, _, err = run(capsys, "demo", str(without), *options)
        assert code == 0 and "others can open this page" in err
    assert serving[0]["share"] is True and (serving[1]["host"], serving[1]["port"]) == ("0.0.0.0", 80)


def test_what_cannot_be_shown_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, err = run(capsys, "demo", str(tmp_path / "missing"))
    assert (code, out) == (2, "") and err.startswith("error: ") and err.count("\n") == 1
    assert run(capsys, "demo", "--baseline", "x")[2].startswith("error: --baseline x given alone")
    assert "max_megabytes=0 given" in run(capsys, "demo", "--max-megabytes", "0")[2]
