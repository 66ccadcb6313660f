"""Weights that a run wrote and that are damaged or gone when it goes on: seen, told, written again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from mscsa.checkpoints import read_state_dict
from mscsa.run_files import BEST, LAST_WEIGHTS
from mscsa.training.lost_weights import find_lost
from mscsa.training.metrics_log import read_metrics
from mscsa.training.run import RunResult, train
from mscsa.training.run_folder import KEPT, kept_name
from tests.training.small_runs import plain_recipe, score_evaluations


def flip(path: Path) -> None:
    """Damage a value in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RunResult]:
    """A finished run whose best evaluation was the second of three, and which keeps two."""
    folder = tmp_path_factory.mktemp("lost") / "run"
    with score_evaluations(({"top1": 10.0}, {"top1": 30.0}, {"top1": 20.0})):
        return folder, train(plain_recipe(keep=2), folder)


def copy_of(run: tuple[Path, RunResult], folder: Path) -> Path:
    return Path(shutil.copytree(run[0], folder / "run"))


def evaluated_steps(folder: Path) -> list[str]:
    return [row["step"] for row in read_metrics(folder / "metrics.csv") if row["val_top1"]]


def test_sound_files_are_not_lost(run: tuple[Path, RunResult]) -> None:
    lost = find_lost(run[0], {"best": {"step": 10}})
    assert (lost.names, lost.spare) == ((), None)
    assert find_lost(run[0] / "nothing", {"best": {}}).names == ()


@pytest.mark.parametrize("how", ["damaged", pytest.param("missing", marks=pytest.mark.slow)])
def test_the_best_is_taken_from_those_that_are_kept(
    run: tuple[Path, RunResult], how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, before = copy_of(run, tmp_path), read_state_dict(run[0] / BEST)[0]
    flip(folder / BEST) if how == "damaged" else (folder / BEST).unlink()
    result = train(plain_recipe(keep=2), folder, resume=True)
    assert replace(result, seconds=run[1].seconds) == run[1]
    assert f"it is {kept_name(10)} again" in caplog.text
    after = read_state_dict(folder / BEST)[0]
    assert all((after[key] == value).all() for key, value in before.items())
    assert evaluated_steps(folder) == ["5", "10", "15"]


def test_without_a_copy_the_last_evaluation_is_done_again_and_is_the_best(
    run: tuple[Path, RunResult], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(run, tmp_path)
    flip(folder / BEST)
    flip(folder / KEPT / kept_name(10))
    with score_evaluations(({"top1": 10.0}, {"top1": 30.0}, {"top1": 20.0})):
        result = train(plain_recipe(keep=2), folder, resume=True)
    assert (result.best_score, result.best_epoch, result.steps) == (20.0, 3.0, 15)
    assert "the next evaluation writes it, which counts as the best so far" in caplog.text
    assert find_lost(folder, {"best": {"step": 15}}).names == ()
    assert evaluated_steps(folder) == ["5", "10", "15"]


def test_the_last_weights_are_written_again_and_the_best_stays(
    run: tuple[Path, RunResult], tmp_path: Path
) -> None:
    folder, best = copy_of(run, tmp_path), (run[0] / BEST).read_bytes()
    (folder / LAST_WEIGHTS).unlink()
    with score_evaluations(({"top1": 10.0}, {"top1": 30.0}, {"top1": 20.0})):
        result = train(plain_recipe(keep=2), folder, resume=True)
    assert replace(result, seconds=run[1].seconds) == run[1]
    assert (folder / BEST).read_bytes() == best and read_state_dict(folder / LAST_WEIGHTS)
