"""From a function to its parser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mscsa_cli.commands import parse_command
from mscsa_cli.parsing import (
    ModelForm,
    build_parser,
    fail,
    gather_arguments,
    parse_pixel,
    parse_size,
)


def command(
    name: str,
    *,
    form: ModelForm,
    numbers: list[int] = [1, 2],  # noqa: B006 (never changed)
    rate: float = 0.5,
    is_loud: bool = False,
) -> None:
    """Do something.

    Example:
        mscsa do it

    Args:
        name: What to do it to.
        form: Of the model.
        numbers: How often.
        rate: How fast.
        is_loud: Whether to shout.
    """


def parse(*argv: str) -> dict[str, Any]:
    return gather_arguments(command, vars(build_parser("do", command).parse_args(argv)))


def test_defaults_are_the_functions() -> None:
    assert parse("it") == {
        **{"name": "it", "numbers": [1, 2], "rate": 0.5, "is_loud": False},
        "form": ModelForm(),
    }


def test_options_of_the_form_come_as_one() -> None:
    parsed = parse("it", "--size", "32x64", "--dense", "--budget", "0.2", "--mscsa.depth", "2", "--is-loud")
    assert parsed["form"] == ModelForm(size="32x64", dense=True, budget=0.2, mscsa={"depth": 2})
    assert parsed["form"].size_px == (32, 64)
    assert parsed["is_loud"]


def test_a_command_without_a_form_keeps_what_was_parsed() -> None:
    def plain(name: str, *, head: str | None = None) -> None:
        """Do less."""

    assert gather_arguments(plain, {"name": "it", "head": "a"}) == {"name": "it", "head": "a"}


def test_what_is_on_by_default_can_be_turned_off() -> None:
    def watch(name: str, *, control: bool = True) -> None:
        """Watch something.

        Example:
            mscsa watch it

        Args:
            name: What.
            control: Whether to control it.
        """

    parser = build_parser("watch", watch)
    found = [parser.parse_args(["it", *flags]).control for flags in ([], ["--control"], ["--no-control"])]
    assert found == [True, True, False]
    assert "--control" in parser.format_help() and "--no-control" in parser.format_help()


def test_help_has_every_text_once() -> None:
    text = " ".join(build_parser("do", command).format_help().split())
    for part in ("Do something.", "What to do it to.", "How fast.", "Take the pyramid form, for detection"):
        assert text.count(part) == 1
    assert "example: mscsa do it" in text


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("it", "--rte", "1"), "unknown option --rte: did you mean --rate?"),
        (("it", "--rate", "fast"), "--rate: 'fast' given, a number expected"),
        (("it", "--size"), "expected one argument"),
        ((), "required"),
    ],
)
def test_errors_are_one_line(argv: tuple[str, ...], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(*argv)
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shell leaves it: in --option=~/d, in quotes and in files; unless something is called so."""
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    assert parse("~/d")["name"] == "/home/someone/d" and parse("~")["name"] == "/home/someone"
    assert parse("a~/d")["name"] == "a~/d"
    (tmp_path / "run.yaml").write_text("data:\n  root: ~/d\n")
    for argv in (["--data.root=~/d"], ["--config=run.yaml"]):
        _, arguments = parse_command(["train", "small/resnet18", "--out=~/run", *argv])
        assert arguments["recipe"].data.root == "/home/someone/d"
        assert arguments["out"] == "/home/someone/run"
    _, arguments = parse_command(["predict", "~/a.jpg", "~/b.jpg", "--checkpoint=~/run"])
    assert arguments["images"] == ["/home/someone/a.jpg", "/home/someone/b.jpg"]
    assert arguments["checkpoint"] == "/home/someone/run"
    for argv in (["~"], ["--kind=folder", "~"], ["--", "~"]):  # which YAML reads as null
        assert parse_command(["check-data", *argv])[1]["root"] == "/home/someone"
    _, arguments = parse_command(["train", "small/resnet18", "--data.root=~"])
    assert arguments["recipe"].data.root == "/home/someone"
    for argv in (["--optim.ema_decay", "~"], ["--optim.ema_decay=~"]):  # null where there is no text
        assert parse_command(["train", "small/resnet18", *argv])[1]["recipe"].optim.ema_decay is None
    (tmp_path / "~").mkdir()
    assert parse("~/d")["name"] == "~/d"


def test_sizes() -> None:
    assert parse_size("224") == (224, 224)
    assert parse_size("800x1280") == (800, 1280)
    for text in ("", "0", "axb", "1x2x3", "-5"):
        with pytest.raises(ValueError, match="is not a size"):
            parse_size(text)


def test_pixels() -> None:
    assert parse_pixel("40, 120") == (40, 120)
    for text in ("3;4", "3", "1,2,3", "-1,2", "a,b"):
        with pytest.raises(ValueError, match="is not a pixel: give Y,X"):
            parse_pixel(text)


def test_failing_is_a_line_and_a_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert (fail("no"), fail("no", 3)) == (2, 3)
    assert capsys.readouterr().err == "error: no\n" * 2
