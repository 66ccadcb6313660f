"""`--resume RUN` finds the recipe in the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa.training.run import train
from mscsa_cli.resumed_run import with_recipe
from tests.training.small_runs import plain_recipe

NAME = "scenes/resnet10t"


@pytest.fixture
def run(tmp_path: Path) -> str:
    (tmp_path / "config.yaml").write_text(f"name: {NAME}\n")
    return str(tmp_path)


def test_the_name_of_the_recipe_is_added(run: str) -> None:
    assert with_recipe(["--resume", run]) == [NAME, "--resume", run]
    assert with_recipe([f"--resume={run}", "--run.epochs", "9"]) == [
        NAME,
        f"--resume={run}",
        "--run.epochs",
        "9",
    ]


def test_a_run_in_the_home_folder(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(Path(run).parent))
    argv = [f"--resume=~/{Path(run).name}"]
    assert with_recipe(argv) == [NAME, *argv]


@pytest.mark.parametrize(
    "argv",
    [
        [NAME],
        [NAME, "--resume"],
        [NAME, "--resume", "--out", "runs/x"],
        [NAME, "--resume", "runs/x"],
        ["--resume", "runs/x", NAME],
        ["--resume", "runs/x", "finetune/resnet18"],
        [],
    ],
)
def test_a_recipe_that_is_named_stays(argv: list[str]) -> None:
    assert with_recipe(argv) == argv


def test_a_recipe_in_the_place_of_the_folder_is_one() -> None:
    assert with_recipe(["--run.epochs", "9", "--resume", NAME]) == [NAME, "--run.epochs", "9", "--resume"]


@pytest.mark.parametrize("text", [None, "", "[]", "model: {}", "\x00", "a: [", "name: {"])
def test_a_folder_without_a_run_is_one_line(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="there is no run in it") as caught:
        with_recipe(["--resume", str(tmp_path)])
    assert "\n" not in str(caught.value)


def test_damaged_settings_are_taken_from_the_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder, recipe = tmp_path / "run", plain_recipe(max_steps=1)
    train(recipe, folder)
    settings = (folder / "config.yaml").read_text()
    for text in (None, settings[:40], settings[: settings.index("optim:")], "\x00"):
        (folder / "config.yaml").unlink() if text is None else (folder / "config.yaml").write_text(text)
        assert with_recipe(["--resume", str(folder)]) == [recipe.name, "--resume", str(folder)]
        assert (folder / "config.yaml").read_text() == settings
    assert "was damaged or missing: it is written anew from last.ckpt" in caplog.text
