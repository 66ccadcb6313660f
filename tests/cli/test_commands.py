"""The command line: help, examples, recipes with overrides, and one clear line for whatever is wrong."""

from __future__ import annotations

import errno
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml  # type: ignore[import-untyped]

from mscsa.recipes import get_recipe
from mscsa_cli.commands import COMMANDS, FIRST, main, parse_command
from tests.cli.running import run

RECIPE = "scenes/mscsa_resnet10t"


def help_of(capsys: pytest.CaptureFixture[str], command: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert stop.value.code == 0
    return capsys.readouterr().out


def test_overview_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--help")
    assert code == 0
    for command in COMMANDS:
        assert f"\n  {command} " in out


def test_alone_it_shows_what_people_do_first(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0 and len(FIRST) == 5
    for command in FIRST:
        assert f"\n  {command}\n" in out
        program, *argv = shlex.split(command)
        assert program == "mscsa" and parse_command(argv)[0] is COMMANDS[argv[0]]


@pytest.mark.parametrize("command", [["train", RECIPE], ["compare", RECIPE, "--out", "x"]])
def test_config_is_printed_and_read_by_train_and_compare(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    with pytest.raises(SystemExit):
        main([*command, "--run.logger", "tensorboard", "--print-config"])
    file = tmp_path / "run.yaml"
    file.write_text(capsys.readouterr().out)
    assert parse_command([*command, "--config", str(file)])[1]["recipe"].run.logger == "tensorboard"


def test_version_is_the_package_s(capsys: pytest.CaptureFixture[str]) -> None:
    import mscsa

    assert run(capsys, "--version")[1] == f"mscsa {mscsa.__version__}\n"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_purpose_and_an_example_that_parses(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    text = help_of(capsys, command)
    assert (COMMANDS[command].__doc__ or "").splitlines()[0] in text
    program, *argv = shlex.split(text.partition("example:\n")[2].strip().splitlines()[0])
    assert (program, argv[0]) == ("mscsa", command)
    function, arguments = parse_command(argv)
    assert function is COMMANDS[command]
    assert arguments


BAD_LINES = {
    "command": (["trian"], "unknown command 'trian': did you mean train?"),
    "option": (["bench", "resnet18", "--batchsize", "2"], "--batchsize: did you mean --batch-size"),
    "abbreviation": (["train", "scenes/resnet10t", "--run.epoch", "7"], "did you mean --run.epochs"),
    "batch": (["train", "scenes/resnet10t", "--data.batch_size", "0"], "data.batch_size 0 is not possible"),
    "value": (["bench", "resnet18", "--rounds", "many"], "--rounds: 'many' given, a whole number expected"),
    "choice": (["bench", "resnet18", "--device", "tpu"], "'tpu' given, one of 'auto', 'cpu', 'gpu' expected"),
    "positional": (["info", "resnet18", "resnet50"], "unexpected argument 'resnet50'"),
    "nothing": (["predict"], "required: images, checkpoint"),
    "model": (["info", "pvt_v2_b9"], "no model is called 'pvt_v2_b9': did you mean pvt_v2_b"),
    "no pyramid": (["info", "vit_tiny_patch16_224"], "choose a backbone with a feature pyramid"),
    "field": (["info", "resnet18", "--mscsa.deph", "2"], "unknown keyword deph: did you mean depth?"),
    "size": (["macs", "resnet18", "--size", "3x"], "size '3x' is not a size: give 224, or HEIGHTxWIDTH"),
    "too small": (["info", "convnext_tiny", "--size", "8"], "refuses 8x8 images"),
    "table": (["macs", "--table", "9"], "table '9' is not there: give one of 1, 2, 3, 4, 5, 6, 7"),
    "neither": (["macs"], "give either a model or --table NUMBER"),
    "rounds": (["bench", "test_resnet", "--rounds", "2"], "rounds=2 given"),
    "pattern": (["list", "nosuchmodel"], "no model with MSCSA is like 'nosuchmodel'"),
    "recipe": (
        ["train", "scenes/mscsa_resnet10"],
        "no recipe is called 'scenes/mscsa_resnet10'",
    ),
    "key": (["train", RECIPE, "--optim.lrr", "1"], "unknown option --optim.lrr: did you mean --optim.lr or "),
    "number": (["train", RECIPE, "--optim.lr", "fast"], "--optim.lr: 'fast' given, a number expected"),
    "root": (["train", "small/resnet10t"], "data.root"),
    "no MSCSA": (["compare", "scenes/resnet10t", "--out", "x"], "such as scenes/mscsa_resnet10t"),
    "seeds": (["compare", RECIPE, "--out", "x", "--seeds", "0"], "seeds=0 given"),
    "folder": (["check-data", "nosuchfolder"], "nosuchfolder"),
    "checkpoint": (["eval", "nosuch.safetensors"], "checkpoint nosuch.safetensors is not there"),
    "infinite": (
        ["train", RECIPE, "--optim.lr", "1e999"],
        "optim.lr inf is not possible; give a finite number",
    ),
    "two lists": (["list", "--recipes", "--necks"], "give one of --recipes, --backbones and --necks"),
    "threshold": (["predict", "a.jpg", "--checkpoint", "x", "--threshold", "5"], "--threshold 5 given: give"),
    "variant": (
        ["compare", RECIPE, "--out", "x", "--variants", "{a: 1}"],
        "--variants: \"{'a': 1}\" given, a mapping such as {name: {name: value}} or null expected",
    ),
    "mapping": (
        ["info", "x", "--neck-config", "x"],
        "--neck-config: 'x' given, a mapping such as {name: value}",
    ),
    "shell": (["completion", "fish"], "error: shell: 'fish' given, one of 'bash', 'zsh', 'tcsh' expected"),
    "entry": (["bench", "x", "--batch-size", "1", "a"], "--batch-size: 'a' given, a whole number expected"),
    "betas": (["train", RECIPE, "--optim.betas", "[1, a]"], "a list [float, float] or null expected"),
    "long": (
        ["check-data", "a" * 300],
        f"{'a' * 300}: File name too long; put it right, or give another path",
    ),
    "long run": (["train", "--resume", "a" * 300], "File name too long; put it right, or give another path"),
    "long output": (["train", RECIPE, "--out", "a" * 300], "File name too long"),
    "empty": (["check-data", ""], "error: root: '' given, which is empty; give a value, or leave it out"),
    "empty file": (["macs", "resnet18", "--json", ""], "--json: '' given, which is empty"),
    "empty number": (["train", RECIPE, "--run.epochs", ""], "--run.epochs: '' given, a whole number"),
    "empty or null": (["train", RECIPE, "--optim.ema_decay", ""], "--optim.ema_decay: '' given, a number or"),
    "empty entry": (["bench", "x", "--batch-size", ""], "--batch-size: '' given, a whole number expected"),
    "empty mapping": (
        ["train", RECIPE, "--model.loss", ""],
        "--model.loss: '' given, a mapping such as {name:",
    ),
    "no mapping": (
        ["train", RECIPE, "--model.loss", "3"],
        "--model.loss: '3' given, a mapping such as {name: ",
    ),
    "empty choice": (["completion", ""], "shell: '' given, one of 'bash', 'zsh', 'tcsh' expected"),
    "empty in list": (
        ["train", RECIPE, "--model.freeze", '[""]'],
        "--model.freeze: '' given, which is empty",
    ),
    "any loss": (["export", "x", "--out", "y", "--max-loss", ".inf"], "give a finite number of 0 or more"),
    "empty run": (["train", "--resume", ""], "--resume: '' given, which is empty"),
    "one empty": (["predict", "a.jpg", "", "--checkpoint", "x"], "images: '' given, which is empty"),
    "NUL": (["predict", "a\0b", "--checkpoint", "x"], "images: 'a\\x00b' given; take out the NUL character"),
    "config": (["train", RECIPE, "--config", "nosuch.yaml"], "config nosuch.yaml: no such file"),
}


@pytest.mark.parametrize("case", BAD_LINES)
def test_bad_input_gives_one_line_and_code_2(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    argv, expected = BAD_LINES[case]
    code, out, err = run(capsys, *argv)
    assert code == 2
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    assert expected in err
    assert list(tmp_path.iterdir()) == []


BAD_FILES = {
    "malformed": ("optim:\n  lr: [1,\n", ":3: malformed YAML"),
    "key": ("run:\n  seed: 1\noptim:\n  lrr: 1\n", ":4: unknown key 'optim.lrr': did you mean optim.lr"),
    "section": ("optimm:\n  lr: 1\n", ":1: unknown key 'optimm': did you mean optim"),
    "value": ("run:\n  seed: 1\noptim:\n  lr: fast\n", ":4: optim.lr: 'fast' given, a number expected"),
    "no fields": ("optim: 3\n", ":1: optim is int: give its fields"),
    "no mapping": ("hello\n", ":1: str given"),
    "other recipe": ("name: scenes/resnet18\n", ":1: written for recipe scenes/resnet18"),
    "tag": ("run: !!python/object/apply:os.mkdir ['made']\n", ":1: malformed YAML"),
    "truth": ("optim:\n  true: 1\n", ":2: unknown key 'optim.true'"),
    "null": ("~: 1\n", ":1: unknown key '~'"),
    "hexadecimal": ("run:\n  0x10: 1\n", ":2: unknown key 'run.0x10'"),
    "huge": (f"optim:\n  lr: {'9' * 400}\n", "a number is given that is too large for a float"),
    "range": (
        "augment:\n  hflip: 3\n",
        ":2: augment.hflip 3.0 is not possible; give 0 or more, but at most 1",
    ),
    "empty": ("data:\n  root: ''\n", ":2: data.root: '' given, which is empty"),
    "NUL": ('run:\n  monitor: "a\\0b"\n', ":2: run.monitor: 'a\\x00b' given; take out the NUL character"),
    "binary": ("run: \x00\n", "not readable as YAML"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_recipe_file_gives_its_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, case: str
) -> None:
    monkeypatch.chdir(tmp_path)
    text, expected = BAD_FILES[case]
    Path("run.yaml").write_text(text)
    code, _, err = run(capsys, "train", RECIPE, "--config", "run.yaml")
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1
    assert "run.yaml" in err and expected in err
    assert [path.name for path in tmp_path.iterdir()] == ["run.yaml"]


def test_command_line_wins_over_file_over_recipe(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text("optim:\n  lr: 1e-4\n  clip_grad: 3\nmodel:\n  mscsa: {depth: 2}\n")
    argv = ["train", RECIPE, "--optim.lr", "0.5", "--config", str(file), "--model.mscsa.num_heads", "4"]
    recipe = parse_command(argv)[1]["recipe"]
    base = get_recipe(RECIPE)
    assert recipe.optim.lr == 0.5
    assert recipe.optim.clip_grad == 3
    assert recipe.model.mscsa == {"depth": 2, "num_heads": 4}
    assert recipe.optim.weight_decay == base.optim.weight_decay
    assert recipe.augment == base.augment
    assert type(recipe) is type(base) and isinstance(recipe.augment.scale, tuple)


def test_printed_config_is_a_recipe_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["train", RECIPE, "--augment.scale", "[0.25, 0.5]", "--run.seed", "7"]
    with pytest.raises(SystemExit) as stop:
        main([*argv, "--print-config"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["run"]["seed"] == 7
    file = tmp_path / "run.yaml"
    file.write_text(text)
    again = parse_command(["train", RECIPE, "--config", str(file)])[1]["recipe"]
    assert again == parse_command(argv)[1]["recipe"]
    assert again.augment.scale == (0.25, 0.5)


def test_resume_takes_the_settings_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"name: {RECIPE}\nrun:\n  seed: 11\n")
    argv = ["train", RECIPE, "--out", str(tmp_path)]
    assert parse_command(argv)[1]["recipe"].run.seed == 0
    assert parse_command([*argv, "--resume"])[1]["recipe"].run.seed == 11


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let `mscsa list` end in an error."""

    def broken(pattern: str = "*") -> None:
        """Fail.

        Example:
            mscsa list

        Args:
            pattern: Not used.
        """
        raise error

    monkeypatch.setitem(COMMANDS, "list", broken)


def test_interrupt_gives_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    assert run(capsys, "list") == (130, "", "error: interrupted\n")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2 GiB"),
            "the memory of the GPU is full",
        ),
        (MemoryError(), "the memory of this machine is full"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "the memory of this machine is full"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed."),
            "a process that reads images was",
        ),
    ],
)
def test_full_memory_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    fails_with(monkeypatch, error)
    code, out, line = run(capsys, "list")
    assert (code, out) == (2, "") and line.startswith(f"error: {said}") and line.count("\n") == 1
    assert "smaller batches or images take less" in line


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(),
        RuntimeError("shapes differ"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "mine"),
        OSError(errno.ENAMETOOLONG, "File name too long"),
        OSError("no number"),
    ],
)
def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """So does an error of files that no path of the user's causes."""
    fails_with(monkeypatch, error)
    with pytest.raises(type(error)) as caught:
        main(["list"])
    assert caught.value is error


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_output_that_has_no_room_is_one_line() -> None:
    """A full disk below `> list.txt`; what Python still has is not tried again at its end."""
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "mscsa_cli", "list", "--necks"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: No space left on device: make room, or write to another place\n"
