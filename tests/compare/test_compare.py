"""Baseline against +MSCSA: what the numbers allow to say, the folder, and a whole comparison."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mscsa.compare.runs import Run, train_all
from PIL import Image

from mscsa.compare import runs as compare_runs
from mscsa.compare.compare import (
    ArmResult,
    CompareResult,
    compare_json,
    compare_recipe,
    comparison_tables,
    verdict,
)
from mscsa.compare.picture import draw_comparison
from mscsa.errors import UserError
from mscsa.evaluation import Accuracy
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import Recipe
from mscsa.report import plain_text
from mscsa.speed import bench
from mscsa.speed.bench import Comparison, Timing


def arm(model: str, *top1: float, macs: int = 100) -> ArmResult:
    return ArmResult(
        model=model,
        recipe=f"scenes/{model}",
        scores=top1,
        curves=tuple([(1.0, value / 2), (2.0, value)] for value in top1),
        seconds=(1.0,) * len(top1),
        parameters=1_000_000,
        macs=macs,
        other_scores={"top5": tuple(score + 20 for score in top1), "loss": (0.5,) * len(top1)},
    )


def result(baseline: tuple[float, ...], mscsa: tuple[float, ...]) -> CompareResult:
    timing = Timing(median_ms=2.0, p10_ms=1.0, p90_ms=3.0, images_per_s=500.0, calls=9)
    slower = replace(timing, median_ms=3.0, images_per_s=400.0)
    latency = tuple(
        Comparison(
            mode="inference",
            batch_size=batch_size,
            baseline=timing,
            model=slower,
            ratio=1.5,
            ratio_range=(1.4, 1.6),
            spread=spread,
            rounds=5,
        )
        for batch_size, spread in ((1, 0.01), (64, 0.2))
    )
    machine = {
        **{"device_name": "a CPU", "threads": 1, "cores": 2, "dtype": "float32", "channels_last": False},
        **{"load_average": 0.1, "versions": {"torch": "2.14"}},
    }
    return CompareResult(
        out=Path("out"),
        seeds=tuple(range(len(baseline))),
        metric="top1",
        labels=Accuracy.LABELS,
        input_size=(64, 64),
        baseline=arm("net", *baseline),
        mscsa=arm("mscsa_net", *mscsa, macs=124),
        latency=latency,
        machine=machine,
    )


def test_interval_of_paired_differences() -> None:
    """Differences 1, 2, 3: mean 2, std 1, and 4.303 / sqrt(3) = 2.484 on both sides."""
    compared = result((70.0, 72.0, 74.0), (71.0, 74.0, 77.0))
    assert compared.differences == (1.0, 2.0, 3.0)
    assert compared.interval == pytest.approx((2 - 2.484, 2 + 2.484), abs=1e-3)
    assert "within the spread of the seeds" in verdict(compared)


def test_verdict_names_gain_and_loss_only_beyond_the_spread() -> None:
    assert "is better than" in verdict(result((70.0, 72.0, 74.0), (72.0, 74.1, 75.9)))
    assert "is worse than" in verdict(result((72.0, 74.1, 75.9), (70.0, 72.0, 74.0)))
    assert "within the spread" in verdict(result((70.0, 72.0, 74.0), (74.0, 72.0, 71.0)))
    assert "says nothing" in verdict(result((70.0,), (80.0,)))


def test_many_seeds_take_the_widest_quantile_left() -> None:
    values = tuple(70.0 + 0.1 * (i % 2) for i in range(14))
    low, high = result((70.0,) * 14, values).interval or (0.0, 0.0)
    assert high - low == pytest.approx(2 * 2.262 * 0.05188 / 14**0.5, rel=1e-3)


def test_table_shows_means_spreads_and_differences() -> None:
    text = "".join(plain_text(table) for table in comparison_tables(result((70.0, 72.0), (71.0, 74.0))))
    assert "71.00 ± 1.41" in text
    assert re.search(r"top-5 \(%\) +91.00 +92.50\n", text)
    assert "+1.50 ± 0.71" in text
    assert "+24.0 %" in text
    assert "x1.50" in text and "x0.67" in text
    assert "Latency at batch 64 is unstable" in text and "Latency at batch 1 is" not in text


@pytest.mark.parametrize("seeds", [1, 3])
def test_picture_of_one_and_more_seeds(tmp_path: Path, seeds: int) -> None:
    path = tmp_path / "compare.png"
    draw_comparison(result((70.0, 72.0, 74.0)[:seeds], (71.0, 74.0, 77.0)[:seeds]), path)
    with Image.open(path) as image:
        assert image.width >= 1000 and image.height >= 500
        colors = image.convert("RGB").getcolors(2**24)
        assert colors is not None and len(colors) > 50


def tiny_recipe() -> Recipe:
    """A comparison of some seconds per run."""
    recipe = get_recipe("scenes/mscsa_resnet10t")
    return replace(
        recipe,
        model=replace(recipe.model, name="test_resnet", budget=0.5),
        data=replace(recipe.data, image_size=32, num_train=32, num_val=16, batch_size=16, eval_batch_size=16),
        run=replace(recipe.run, epochs=2, accelerator="cpu"),
    )


def test_recipe_without_mscsa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scenes/mscsa_resnet10t"):
        compare_recipe(get_recipe("scenes/resnet10t"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="give another --out"):
        compare_recipe(tiny_recipe(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write to"):
        compare_recipe(tiny_recipe(), tmp_path / "file" / "out")


def run_in(folder: Path) -> Run:
    return Run(
        arm="mscsa",
        seed=1,
        recipe_name="scenes/mscsa_resnet10t",
        config=folder / "mscsa.yaml",
        folder=folder / "mscsa" / "seed1",
        log=folder / "logs" / "mscsa-seed1.log",
        epochs=4,
        steps=None,
        metric="top1",
        metric_label="top-1",
    )


class Finished:
    """Stands for a process that has ended."""

    started: list[list[str]] = []
    returncode = 0

    def __init__(self, command: list[str], **_: Any) -> None:
        self.started.append(command)
        folder = Path(command[command.index("--out") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "result.json").write_text(
            json.dumps({"scores": {"top1": 50.0}, "metric": "top1", "seconds": 1.0})
        )

    def poll(self) -> int:
        return 0


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Commands of the processes that would have been started."""
    monkeypatch.setattr(compare_runs.subprocess, "Popen", Finished)
    monkeypatch.setattr(compare_runs, "_POLL_S", 0.0)
    monkeypatch.setattr(Finished, "started", [])
    return Finished.started


def test_a_new_run_starts_and_a_finished_one_is_kept(tmp_path: Path, started: list[list[str]]) -> None:
    run = run_in(tmp_path)
    train_all([run], jobs=1, on_gpu=False)
    assert len(started) == 1 and "--resume" not in started[0]
    assert started[0][started[0].index("--run.seed") + 1] == "1"
    assert started[0][started[0].index("--run.threads") + 1] == "1"
    train_all([run], jobs=1, on_gpu=False)
    assert len(started) == 1


def test_an_interrupted_run_is_resumed(tmp_path: Path, started: list[list[str]]) -> None:
    run = run_in(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "last.ckpt").write_text("")
    train_all([run], jobs=1, on_gpu=False)
    assert started[0][-1] == "--resume"


def test_a_run_without_checkpoint_starts_anew(tmp_path: Path, started: list[list[str]]) -> None:
    run = run_in(tmp_path)
    run.folder.mkdir(parents=True)
    (run.folder / "config.yaml").write_text("")
    train_all([run], jobs=1, on_gpu=False)
    assert "--resume" not in started[0]
    assert not (run.folder / "config.yaml").exists()


def test_a_failing_run_is_named_with_its_reason(
    tmp_path: Path, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_in(tmp_path)
    run.log.parent.mkdir(parents=True)
    run.log.write_text("error: the disk is full\n")
    monkeypatch.setattr(Finished, "poll", lambda self: 2)
    monkeypatch.setattr(Finished, "returncode", 2)
    with pytest.raises(
        UserError, match=r"mscsa, seed 1 failed \(exit code 2\): the disk is full; its log is"
    ):
        train_all([run], jobs=1, on_gpu=False)


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


def test_whole_comparison_and_more_seeds_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench, "_ROUND_S", 0.01)
    out = tmp_path / "out"
    caplog.set_level(logging.INFO)
    compare_recipe(tiny_recipe(), out, num_seeds=1, jobs=2)
    first = out / "baseline" / "seed0" / "result.json"
    written = first.stat().st_mtime_ns

    compared = compare_recipe(tiny_recipe(), out, num_seeds=2, jobs=2)
    assert first.stat().st_mtime_ns == written
    assert "baseline, seed 0: finished before" in caplog.text
    assert compared.seeds == (0, 1)
    assert compared.baseline.model == "test_resnet" and compared.mscsa.model == "mscsa_test_resnet"
    assert 1.4 < compared.mscsa.macs / compared.baseline.macs <= 1.5
    assert [len(curve) for curve in compared.mscsa.curves] == [2, 2]

    content = json.loads((out / "compare.json").read_text())
    assert content == json.loads(json.dumps(compare_json(compared)))
    trained = [
        json.loads((out / f"mscsa/seed{seed}/result.json").read_text())["scores"]["top1"] for seed in (0, 1)
    ]
    assert content["mscsa"]["scores"] == trained
    assert content["difference"]["points"] == [
        b - a for a, b in zip(content["baseline"]["scores"], trained, strict=True)
    ]
    with Image.open(out / "compare.png") as image:
        assert image.width >= 1000

    other = replace(tiny_recipe(), optim=replace(tiny_recipe().optim, lr=0.5))
    with pytest.raises(UserError, match="optim.lr = 0.002, now it is 0.5"):
        compare_recipe(other, out)
