"""The `mscsa` command: one function per command, whose signature and docstring are its options and help.

No module here imports torch or `mscsa` before a command needs them, so that help is quick.
"""

from __future__ import annotations

import errno
import importlib.metadata
import inspect
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from mscsa_cli.completion import completion
from mscsa_cli.data import check_data, show_data
from mscsa_cli.demo import demo
from mscsa_cli.doctor import doctor
from mscsa_cli.export import export
from mscsa_cli.hub import pull, push
from mscsa_cli.models import bench, info, list_models, macs, saliency
from mscsa_cli.outputs import check_outputs
from mscsa_cli.parsing import Command, build_parser, fail, gather_arguments
from mscsa_cli.resumed_run import with_recipe
from mscsa_cli.runs import compare, evaluate, predict, run_folder, train

_FULL = {getattr(errno, name) for name in ("ENOSPC", "EDQUOT") if hasattr(errno, name)}
"""Why a system has no room; not all are on every system."""

_REFUSED_BY_SYSTEM = _FULL | {
    getattr(errno, name)
    for name in ("ENAMETOOLONG", "ELOOP", "ENOTDIR", "EACCES", "EPERM", "EROFS")
    if hasattr(errno, name)
}
"""Why a system refuses a path, or to write there. A file that is missing, or there already, is none of them:
the code that needs it says so, or has a bug."""

RECIPE_COMMANDS = ("train", "compare")
"""Commands that take a recipe and its overrides."""

COMMANDS: dict[str, Command] = {
    "list": list_models,
    "info": info,
    "macs": macs,
    "bench": bench,
    "compare": compare,
    "train": train,
    "eval": evaluate,
    "predict": predict,
    "export": export,
    "saliency": saliency,
    "demo": demo,
    "check-data": check_data,
    "show-data": show_data,
    "push": push,
    "pull": pull,
    "doctor": doctor,
    "completion": completion,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; bad input gives one line on stderr and exit code 2."""
    argv = list(sys.argv[1:] if argv is None else argv)
    # What a run says is its output: `mscsa train ... | tee run.log` has all of it.
    lines = sys.stdout if argv[:1] == ["train"] else sys.stderr
    logging.basicConfig(format="%(message)s", stream=lines)
    logging.getLogger("mscsa").setLevel(logging.INFO)
    try:
        if not argv:
            print(first_steps())
            return 0
        if argv[0] in ("-h", "--help"):
            print(overview())
            return 0
        if argv[0] == "--version":
            print(f"mscsa {importlib.metadata.version('mscsa')}")
            return 0
        command, arguments = parse_command(argv)
        check_outputs(arguments)
        code = command(**arguments)
        sys.stdout.flush()
        return code or 0
    except ValueError as error:
        return fail(" ".join(str(error).split()))
    except KeyboardInterrupt:
        return fail("interrupted", 130)
    except BrokenPipeError:  # the reader of our output, such as `head`, has left
        _forget_output()
        return 1
    except (MemoryError, RuntimeError) as error:
        return _fail_of_memory(error)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _fail_of_memory(error)
        # Of a file that is open already, or of our own output, nobody names the place.
        if error.filename is None and error.errno in _FULL:
            _forget_output()
            return fail(f"{error.strerror}: make room, or write to another place")
        if error.filename is None or error.errno not in _REFUSED_BY_SYSTEM:
            raise
        return fail(f"{os.fsdecode(error.filename)}: {error.strerror}; put it right, or give another path")


def _fail_of_memory(error: Exception) -> int:
    """Say that memory is full, if that is what an error says."""
    from mscsa.full_memory import full_memory

    if (what := full_memory(error)) is None:
        raise error
    return fail(f"{what}: smaller batches or images take less, and so do fewer processes that read them")


def _forget_output() -> None:
    """Drop what is still to be printed and cannot be, which Python would try again at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parse_command(argv: Sequence[str]) -> tuple[Command, dict[str, Any]]:
    """Turn a command line into a function of `COMMANDS` and its arguments.

    Raises:
        ValueError: If the command, an option, the recipe or its file is not usable.
    """
    name, *rest = argv
    if name not in COMMANDS:
        from mscsa_runtime.errors import nearest

        hint = nearest(name, COMMANDS, all_names="`mscsa --help` shows all")
        raise ValueError(f"unknown command {name!r}: {hint}")
    if name in RECIPE_COMMANDS:
        return COMMANDS[name], _parse_recipe_command(name, rest)
    parsed = build_parser(name, COMMANDS[name]).parse_args(rest)
    return COMMANDS[name], gather_arguments(COMMANDS[name], vars(parsed))


def _parse_recipe_command(name: str, argv: Sequence[str]) -> dict[str, Any]:
    from mscsa.recipes.options import parse_recipe
    from mscsa.run_files import CONFIG

    def resumed_config(parsed: Namespace) -> Path | None:
        is_resumed = name == "train" and parsed.resume
        return run_folder(parsed.recipe, parsed.out, parsed.resume) / CONFIG if is_resumed else None

    argv = with_recipe(argv) if name == "train" else argv
    recipe, parsed = parse_recipe(lambda: build_parser(name, COMMANDS[name]), argv, resumed_config)
    own = inspect.signature(COMMANDS[name]).parameters
    return {key: recipe if key == "recipe" else parsed[key] for key in own}


FIRST = {
    "mscsa info mscsa_pvt_v2_b1": "what a model is made of, and costs",
    "mscsa check-data DATA": "what is wrong with images, labels, splits",
    "mscsa train finetune/mscsa_resnet50 --data.root DATA": "train on your images",
    "mscsa predict IMAGE --checkpoint runs/finetune/mscsa_resnet50": "ask what was trained",
    "mscsa compare frozen_collages/mscsa_tf_efficientnet_lite0 --out runs/compare": "does MSCSA help?",
}
"""What people do first: command and purpose."""


def first_steps() -> str:
    """Say what people do first, and where the rest is."""
    lines = ["Multi-Stage Cross-Scale Attention for timm backbones. What people do first:", ""]
    for command, purpose in FIRST.items():
        lines += [f"  {command}", f"      {purpose}"]
    return "\n".join([*lines, "", "`mscsa --help` lists all commands, `mscsa COMMAND --help` their options."])


def overview() -> str:
    """List the commands with the first line of their help."""
    lines = ["usage: mscsa COMMAND ...", "", "Multi-Stage Cross-Scale Attention for timm backbones.", ""]
    for name, function in COMMANDS.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        lines.append(f"  {name:<12}{summary}")
    return "\n".join([*lines, "", "`mscsa COMMAND --help` shows options and an example; `mscsa --version`."])
