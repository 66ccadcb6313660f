"""What the documents tell people to type works: Python is executed, commands are parsed, and run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from PIL import Image

from mscsa.export import export_checkpoint
from mscsa.recipes import get_recipe
from mscsa.recipes.options import recipe_yaml
from mscsa_cli import main
from mscsa_cli.commands import COMMANDS, RECIPE_COMMANDS, parse_command
from mscsa_cli.parsing import build_parser
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import write_label_maps
from tests.documents import DOCUMENTS, ROOT, Block, agrees, blocks_of, inline_commands, run_python
from tests.export.small_exports import save

IMAGES = ("cat.jpg", "flower.jpg", "street.jpg", "cells.png", "scene.png")
QUICK = ("info", "list")
"""Commands that are run by default, where they are not of a detector."""
FIRST = "runs/flowers"
"""The trained model of the first page, which pages about what comes after training begin with."""
LONG = ("docs/add.md", "docs/backbones.md", "docs/detection.md")
"""Pages whose Python is run by the slow tests; what they show has quick tests elsewhere."""
SHORTER = [
    "--run.max_steps",
    "2",
    "--data.batch_size",
    "2",
    "--data.workers",
    "0",
    "--optim.warmup_epochs",
    "0",
]


def of_language(language: str) -> list[Any]:
    """Parameters: the documents that have blocks of a language."""
    found = [path for path in DOCUMENTS if any(block.language == language for block in blocks_of(path))]
    names = [str(path.relative_to(ROOT)) for path in found]
    is_slow = [language == "python" and name in LONG for name in names]
    return [
        pytest.param(path, id=name, marks=[pytest.mark.long] * slow)
        for path, name, slow in zip(found, names, is_slow, strict=True)
    ]


def blocks(document: Path, language: str) -> list[Block]:
    return [block for block in blocks_of(document) if block.language == language]


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the documents name: data sets, images, weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "cache"))
    write_label_maps(tmp_path / "data" / "street")
    write_coco(tmp_path / "data" / "cells")
    for name in IMAGES:
        Image.radial_gradient("L").resize((96, 64)).convert("RGB").save(tmp_path / name)
    for index in range(24):
        folder = tmp_path / "data" / "flowers" / ("rose", "tulip")[index % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((64, 64), 20 + index).convert("RGB").save(folder / f"{index}.png")
    for split, images in (("train", "photos"), ("val", "more_photos")):
        shutil.copytree(tmp_path / "data" / "cells" / split, tmp_path / images)
        shutil.copy(tmp_path / "data" / "cells" / "annotations" / f"instances_{split}.json", f"{split}.json")
    return tmp_path


@pytest.mark.parametrize("document", of_language("python"))
def test_python_runs(document: Path, workplace: Path) -> None:
    """Page by page in one namespace; what needs more than the package is run by the slow tests."""
    torch.manual_seed(0)
    for name, file in (("pvt_v2_b0", "weights.pth"), ("p2t_tiny", "p2t_tiny.pth")):
        torch.save(timm.create_model(name).state_dict(), file)
    namespace: dict[str, Any] = {}
    for block in blocks(document, "python"):
        if not (block.is_left_out or block.mark):
            run_python(block, namespace)


@pytest.mark.long
def test_python_that_needs_more_runs(workplace: Path) -> None:
    """A package of the site's own, or an exported detector."""
    export_checkpoint(save("mask_rcnn", workplace), workplace / "exported")
    needy = [b for path in DOCUMENTS for b in blocks(path, "python") if b.mark.startswith("needs ")]
    assert {block.mark for block in needy} == {"needs monai", "needs an export"}
    for block in needy:
        run_python(block, {})


@pytest.mark.parametrize("document", of_language("console"))
def test_sessions_say_what_is_printed(
    document: Path, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for block in blocks(document, "console"):
        for (program, *argv), said in block.session:
            assert program == "mscsa"
            main(argv)
            out, err = capsys.readouterr()
            assert agrees(out + err, said), f"{block.name}: {argv} prints {out + err}"


def parse(argv: list[str]) -> None:
    """Parse a command line as `mscsa` does, the recipe with its options; a run to resume is made."""
    if "--resume" in argv:
        folder = Path(argv[argv.index("--resume") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").write_text(recipe_yaml(get_recipe("scenes/resnet10t")))
    try:
        parse_command(argv)
    except SystemExit as end:  # --print-config
        assert "--print-config" in argv and not end.code


def launched(words: list[str]) -> list[str]:
    """What `torchrun` or `srun` starts, in a string of a shell too, up to what that works out by itself."""
    words = " ".join(words).split()
    return list(takewhile(lambda word: not word.startswith("$("), words[words.index("mscsa_cli") + 1 :]))


@pytest.mark.parametrize("document", of_language("sh"))
def test_commands_are_real(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for block in blocks(document, "sh"):
        for program, *argv in block.commands:
            if program in ("mscsa", "torchrun", "srun"):
                parse(argv if program == "mscsa" else launched(argv))
            elif program == "make":
                assert re.search(rf"^{argv[0]}:", makefile, re.MULTILINE), block.name
            elif program == "python":
                assert (ROOT / argv[0]).is_file(), block.name
            else:
                assert program == "pip" and argv[0] == "install", f"{block.name}: {program}"
                for extra in re.findall(r"\[([\w,]+)\]", " ".join(argv)):
                    assert all(f"\n{each} = [" in extras for each in extra.split(",")), block.name


def test_commands_in_running_text_are_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole ones parse; of those that are cut short the command and its options are there."""
    monkeypatch.chdir(tmp_path)
    for document in DOCUMENTS:
        for _, name, *argv in [words for words in inline_commands(document) if len(words) > 1]:
            for each in name.split("|"):
                if each.strip("| ") and each != "COMMAND":
                    check_inline(each, argv, document)


def check_inline(name: str, argv: list[str], document: Path) -> None:
    assert name in COMMANDS, f"{document.name}: mscsa {name}"
    options = [word for word in argv if word.startswith("--") and "." not in word]
    known = {o for action in build_parser(name, COMMANDS[name])._actions for o in action.option_strings}
    known |= {"--config", "--print-config", "--help"} if name in RECIPE_COMMANDS else {"--help"}
    assert not set(options) - known, f"{document.name}: mscsa {name} {argv}"
    is_whole = "/" in "".join(argv[:1]) and not argv[0].endswith("...")
    if name in RECIPE_COMMANDS and is_whole:
        parse([name, *argv, *([] if name == "train" or "--out" in argv else ["--out", "runs/x"])])


def test_quick_commands_run(workplace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = {tuple(c) for path in DOCUMENTS for block in blocks(path, "sh") for c in block.commands}
    quick = [argv for _, *argv in sorted(lines) if argv[0] in QUICK and not {"--head", "2"} & set(argv)]
    assert len(quick) >= 3
    for argv in quick:
        assert main(argv) == 0, argv
    assert main(["check-data", "data/street"]) == 0
    assert "GMACs" in capsys.readouterr().out


@pytest.mark.long
@pytest.mark.parametrize("document", of_language("sh"))
def test_commands_run(document: Path, workplace: Path) -> None:
    """Page by page, in order, as written; training is shortened, and nothing is installed."""
    shutil.copytree(ROOT / "benchmarks", workplace / "benchmarks")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    lines = [(b, argv) for b in blocks(document, "sh") if not b.is_left_out for argv in b.commands]
    using = [argv for _, argv in lines if FIRST in argv]
    if using and using[0][1] != "train":
        recipe = "finetune/mscsa_tf_efficientnet_lite0"
        lines[:0] = [(lines[0][0], ["mscsa", "train", recipe, "--data.root", "data/flowers", "--out", FIRST])]
    for block, (program, *argv) in lines:
        if program == "mscsa":
            command = [sys.executable, "-m", "mscsa_cli", *shortened(argv)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
            assert done.returncode == 0, f"{block.name}: {argv}: {done.stderr}"


def shortened(argv: list[str]) -> list[str]:
    if argv[0] == "compare":
        return [*argv, *SHORTER, "--seeds", "1", "--no-latency"]
    if argv[0] == "train" and "--resume" not in argv:
        return [*argv, *SHORTER]
    return argv


@pytest.mark.long
def test_the_site_builds_without_a_warning(tmp_path: Path) -> None:
    """Its notebooks run while it is built."""
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-W",
        "--keep-going",
        "-q",
        "-b",
        "html",
        "docs",
        str(tmp_path),
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    shown = (tmp_path / "notebooks" / "compare.html").read_text(encoding="utf-8")
    assert "MSCSA is better than its baseline here" in shown and "No verdict" in shown
    assert "cell_output" in (tmp_path / "commands.html").read_text(encoding="utf-8")
