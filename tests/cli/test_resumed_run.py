"""`--resume RUN` finds the recipe in the run's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from mscsa_cli.resumed_run import with_recipe

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
