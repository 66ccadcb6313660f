"""The folder of a run: made once, never overwritten, with what was asked for and where it ran."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml

import mscsa.training.run_folder as run_folder
from mscsa.errors import UserError
from mscsa.run_files import CONFIG, ENVIRONMENT, METRICS
from mscsa.training.run_folder import (
    LOCK,
    TENSORBOARD,
    describe_environment,
    is_taken,
    next_free,
    open_run_folder,
    package_versions,
    record_environment,
    says_length_of,
    write_config,
)
from tests.refusals import one_line_error
from tests.training.small_runs import small_recipe


def test_a_new_folder_holds_the_recipe(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "run"
    open_run_folder(folder, small_recipe(), resume=False)
    assert {entry.name for entry in folder.iterdir()} == {CONFIG, LOCK}
    assert yaml.safe_load((folder / CONFIG).read_text()) == json.loads(json.dumps(asdict(small_recipe())))


def test_an_empty_folder_may_be_used(tmp_path: Path) -> None:
    open_run_folder(tmp_path, small_recipe(), resume=False)
    assert (tmp_path / CONFIG).exists()


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path, tmp_path / "file"):
        with pytest.raises(UserError, match="is there already and nothing is overwritten"):
            open_run_folder(place, small_recipe(), resume=False)
    open_run_folder(tmp_path, small_recipe(), resume=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", LOCK}
    with pytest.raises(UserError, match="cannot make .*give a folder that can be written"):
        open_run_folder(tmp_path / "file" / "run", small_recipe(), resume=False)


def test_what_a_run_left_without_a_checkpoint_makes_room(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    open_run_folder(tmp_path, small_recipe(), resume=False).release()
    (tmp_path / METRICS).write_text("step\n")
    (tmp_path / TENSORBOARD).mkdir()
    (tmp_path / TENSORBOARD / "events").touch()
    (tmp_path / ".last.ckpt.7.tmp").touch()
    with caplog.at_level(logging.INFO):
        open_run_folder(tmp_path, small_recipe(epochs=5), resume=False).release()
    assert {entry.name for entry in tmp_path.iterdir()} == {CONFIG, LOCK}
    assert yaml.safe_load((tmp_path / CONFIG).read_text())["run"]["epochs"] == 5
    assert "ended before its first checkpoint is removed" in caplog.text


@pytest.mark.parametrize("name", ["last.ckpt", "previous.ckpt", "best.safetensors", "notes.txt"])
def test_what_is_worth_keeping_is_kept(tmp_path: Path, name: str) -> None:
    open_run_folder(tmp_path, small_recipe(), resume=False).release()
    (tmp_path / name).write_text("mine")
    one_line_error(
        lambda: open_run_folder(tmp_path, small_recipe(), resume=False),
        "is there already and nothing is overwritten",
    )
    assert (tmp_path / name).read_text() == "mine" and is_taken(tmp_path)


def _commented(folder: Path) -> None:
    (folder / CONFIG).write_text(f"# mine\n{(folder / CONFIG).read_text()}")


def _in_part(folder: Path) -> None:
    (folder / CONFIG).write_text("run:\n  epochs: 3\n")


def _not_yaml(folder: Path) -> None:
    (folder / CONFIG).write_text("run: {")


def _copied(folder: Path) -> None:
    (folder / LOCK).unlink()


@pytest.mark.parametrize("make_own", [_commented, _in_part, _not_yaml, _copied])
def test_what_someone_has_in_files_of_these_names_is_kept(
    tmp_path: Path, make_own: Callable[[Path], None]
) -> None:
    folder = tmp_path / "mine"
    open_run_folder(folder, small_recipe(), resume=False).release()
    make_own(folder)
    (folder / "log.txt").write_text("mine")
    (folder / TENSORBOARD).mkdir()
    (folder / TENSORBOARD / "old_events").write_text("mine")
    before = {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")}
    assert is_taken(folder) and next_free(folder) == tmp_path / "mine-2"
    one_line_error(
        lambda: open_run_folder(folder, small_recipe(), resume=False),
        "mine is there already and nothing is overwritten",
    )
    assert {path: path.is_file() and path.read_bytes() for path in folder.rglob("*")} == before


def test_the_next_free_folder(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "family" / "model"
    assert next_free(folder) == folder and not is_taken(folder)
    for name in ("model", "model-2"):
        (folder.with_name(name)).mkdir(parents=True)
        (folder.with_name(name) / "last.ckpt").touch()
    assert next_free(folder) == folder.with_name("model-3")
    (folder.with_name("model-3")).touch()
    assert next_free(folder) == folder.with_name("model-4")


def test_one_process_at_a_time_has_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "_LOCK_TIMEOUT_S", 0.2)
    lock = open_run_folder(tmp_path, small_recipe(), resume=False)
    for resume in (False, True):
        one_line_error(
            lambda resume=resume: open_run_folder(tmp_path, small_recipe(), resume=resume),
            "another process is training in .*: wait for its end, or give another folder",
        )
    lock.release()
    open_run_folder(tmp_path, small_recipe(), resume=True).release()


def test_each_session_is_recorded(tmp_path: Path) -> None:
    for world_size in (1, 2):
        record_environment(tmp_path, 7, torch.device("cpu"), world_size)
    sessions = json.loads((tmp_path / ENVIRONMENT).read_text())["sessions"]
    assert [each["processes"] for each in sessions] == [1, 2]
    assert {each["seed"] for each in sessions} == {7}
    assert sessions[0]["versions"]["torch"] == torch.__version__.split("+")[0]
    assert sessions[0].keys() == describe_environment(7, torch.device("cpu"), 1).keys()


@pytest.mark.parametrize("text", ["{", "{}", "[]", "3", '{"sessions": 3}', "\x00"])
def test_a_damaged_list_of_sessions_is_set_aside(
    tmp_path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / ENVIRONMENT).write_text(text)
    record_environment(tmp_path, 0, torch.device("cpu"), 1)
    assert len(json.loads((tmp_path / ENVIRONMENT).read_text())["sessions"]) == 1
    assert (tmp_path / f"damaged_{ENVIRONMENT}").read_text() == text
    assert "is damaged: it is called damaged_environment.json now" in caplog.text


@pytest.mark.parametrize("text", [None, "", "run: {", "run: {epochs: 3}", "run: {epochs: 4, steps: null}"])
def test_settings_that_cannot_be_read_say_no_length(tmp_path: Path, text: str | None) -> None:
    recipe = small_recipe()
    if text is not None:
        (tmp_path / CONFIG).write_text(text)
    assert not says_length_of(tmp_path, recipe)
    write_config(tmp_path, recipe)
    assert says_length_of(tmp_path, recipe)


def test_versions_are_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"mscsa", "torch", "timm", "lightning"} < package_versions().keys()
    monkeypatch.setattr(run_folder, "_OPTIONAL_PACKAGES", ("no-such-package-at-all",))
    assert "no-such-package-at-all" not in package_versions()
