"""One training run: how far it is, read from its files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mscsa.errors import UserError
from mscsa.evaluation.top1 import Hits
from tests.compare.made import run_in


def test_progress_and_curve_are_read_while_the_file_grows(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    assert run.progress() == 0.0
    run.folder.mkdir(parents=True)
    (run.folder / "metrics.csv").write_text(
        "step,epoch,lr,train_loss,images_per_s,val_top1,val_top5,val_loss\n"
        "5,1.0,0.1,2.0,100,,,\n"
        "5,1.0,,,,40.5,80,2.1\n"
        "10,2.0,0.1,1."
    )
    assert run.progress() == 0.25
    assert run.curve() == [(1.0, 40.5)]
    assert replace(run, steps=10).progress() == 0.5


def test_a_run_is_finished_when_it_has_its_result(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    assert run.result is None
    run.folder.mkdir(parents=True)
    (run.folder / "result.json").write_text(json.dumps({"metric": "top1"}))
    assert run.result == {"metric": "top1"}
    assert run.label == "mscsa, seed 1"


def test_counts_by_image_are_read_or_missed_in_one_line(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with pytest.raises(UserError, match="mscsa, seed 1 has not kept its counts by image .* compare again"):
        run.images(Hits)
    Hits(np.arange(2), np.array([True, False])).save(run.folder / "last_images.npz")
    assert run.images(Hits).scores(np.array([[1, 1]])).tolist() == [50.0]
