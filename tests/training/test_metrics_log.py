"""`metrics.csv` across sessions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mscsa.training.metrics_log import TRAIN_COLUMNS, MetricsCsv, read_metrics

SCORES = ("top1", "top5", "loss")


def steps(path: Path) -> list[tuple[str, str]]:
    return [(row["step"], "val" if row["val_loss"] else "train") for row in read_metrics(path)]


def write(path: Path, **keep: int) -> None:
    log = MetricsCsv(path, SCORES, **keep)
    for step in (2, 4):
        log.log_metrics({"epoch": step / 5, "lr": 0.1, "train_loss": 2.0, "images_per_s": 9.0}, step)
    log.log_metrics({"epoch": 1.0, "val_loss": 1.5, "val_top1": 50.0, "val_top5": 90.0}, 5)
    log.log_metrics({"epoch": 1.2, "lr": 0.1, "train_loss": 1.0, "images_per_s": 9.0}, 6)


def test_a_new_file_has_a_header_and_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write(path)
    assert path.read_text().splitlines()[0] == ",".join((*TRAIN_COLUMNS, "val_top1", "val_top5", "val_loss"))
    assert steps(path) == [("2", "train"), ("4", "train"), ("5", "val"), ("6", "train")]
    assert read_metrics(path)[2]["val_top1"] == "50.0"


def test_a_resumed_run_drops_the_rows_that_come_again(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write(path)
    log = MetricsCsv(path, SCORES, keep_train=5, keep_val=0)
    assert len(steps(path)) == 4  # nothing happens before the first row
    log.log_metrics({"epoch": 1.0, "val_loss": 1.5, "val_top1": 50.0, "val_top5": 90.0}, 5)
    assert steps(path) == [("2", "train"), ("4", "train"), ("5", "val")]


def test_the_rows_that_stay_are_on_the_disk_before_they_take_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, calls = tmp_path / "metrics.csv", []
    write(path)
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (calls.append("sync"), sync(file)))
    monkeypatch.setattr(os, "replace", lambda *paths: (calls.append("replace"), replace(*paths)))
    MetricsCsv(path, SCORES, keep_train=5, keep_val=5).log_metrics({"epoch": 1.2, "train_loss": 1.0}, 6)
    assert calls == ["sync", "replace", "sync"] and os.listdir(tmp_path) == ["metrics.csv"]


def test_a_row_that_a_kill_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    write(path)
    text = path.read_text()
    for cut in range(1, len(text.splitlines()[-1])):
        path.write_text(text[:-cut])
        log = MetricsCsv(path, SCORES, keep_train=6, keep_val=6)
        log.log_metrics({"epoch": 1.6, "train_loss": 1.0}, 8)
        assert steps(path)[:3] == [("2", "train"), ("4", "train"), ("5", "val")]
        assert steps(path)[-1] == ("8", "train")
        assert len(steps(path)) == 4


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.csv") == []


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\x00", b"a,b\n1,2\n", b"step,epoch\n"])
def test_rows_that_are_lost_are_told(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.csv"
    if content is not None:
        path.write_bytes(content)
    log = MetricsCsv(path, ("top1",), keep_train=5, keep_val=5)
    log.log_metrics({"epoch": 2.0, "lr": 0.1, "train_loss": 1.0, "images_per_s": 9.0, "data_wait": 0.0}, 6)
    assert [row["step"] for row in read_metrics(path)] == ["6"]
    assert "is damaged or missing, its rows so far are lost: a new one is begun" in caplog.text
    aside = tmp_path / "damaged_metrics.csv"
    assert (aside.read_bytes() if aside.exists() else None) == content
