"""The command as a program: it starts, and starts quickly."""

from __future__ import annotations

import json
import subprocess
import sys

LIGHT = (
    ["--help"],
    [],
    ["--version"],
    ["trian"],
    ["bench", "--help"],
    ["list", "--bakbones"],
    ["push", "--help"],
)
"""Command lines that need neither torch nor the package."""

SCRIPT = """
import json, sys, mscsa_cli
for argv in json.loads(sys.argv[1]):
    try: mscsa_cli.main(argv)
    except SystemExit: pass
    heavy = {"torch", "timm", "mscsa", "lightning", "matplotlib"} & set(sys.modules)
    if heavy: sys.exit(f"{argv} imported {heavy}")
"""


def test_help_and_typos_need_no_torch() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(LIGHT)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_runs_as_a_module_and_gives_its_exit_code() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mscsa_cli", "trian"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: unknown command 'trian': did you mean train?")
