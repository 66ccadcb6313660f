"""The Tab key: a shell that has read the script completes commands, options, choices and recipes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from mscsa_cli import main

COMPLETE = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
_shtab_mscsa mscsa "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD-1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import contextlib
    import io

    written = io.StringIO()
    with contextlib.redirect_stdout(written):
        assert main(["completion", "bash"]) == 0
    path = tmp_path_factory.mktemp("completion") / "mscsa"
    path.write_text(written.getvalue())
    return path


ANSWERS = {
    "command": (["mscsa", "pre"], {"predict"}),
    "option": (["mscsa", "bench", "x", "--batch"], {"--batch-size"}),
    "choice": (["mscsa", "bench", "x", "--device", "g"], {"gpu"}),
    "recipe": (["mscsa", "train", "scenes/mscsa_resnet10"], {"scenes/mscsa_resnet10t"}),
    "field": (["mscsa", "train", "scenes/resnet10t", "--run.log"], {"--run.logger", "--run.log_every"}),
    "field's choice": (["mscsa", "train", "scenes/resnet10t", "--run.logger", "ten"], {"tensorboard"}),
}


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize("case", ANSWERS)
def test_bash_completes(script: Path, case: str) -> None:
    words, expected = ANSWERS[case]
    command = ["bash", "-c", COMPLETE, "bash", str(script), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert set(done.stdout.split()) == expected, done.stderr


def test_other_shells_get_a_script_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out.startswith("#compdef mscsa")
