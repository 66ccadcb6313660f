"""`mscsa completion`: the commands, options, recipes and choices, for the Tab key of a shell."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

from mscsa_cli.parsing import Command, build_parser

RECIPE = "recipe"
"""The argument that a recipe's name goes into, and that brings the recipe's options with it."""


def completion(shell: Literal["bash", "zsh", "tcsh"]) -> None:
    """Print a script that lets the Tab key complete commands, options and recipes.

    Example:
        mscsa completion bash

    Args:
        shell: Which shell; of bash, put the script into ~/.local/share/bash-completion/completions/mscsa.
    """
    import shtab

    from mscsa_cli.commands import COMMANDS

    print(shtab.complete(all_commands(COMMANDS), shell))


def all_commands(commands: Mapping[str, Command]) -> argparse.ArgumentParser:
    """Put the parsers of all commands into one, as shtab takes it."""
    parser = argparse.ArgumentParser(prog="mscsa")
    parser.add_argument("--version", action="store_true", help="show the version")
    subparsers = parser.add_subparsers()
    for name, function in commands.items():
        summary = (inspect.getdoc(function) or "").splitlines()[0]
        below = subparsers.add_parser(name, help=_plain(summary), description=_plain(summary))
        for flags, options in _arguments(name, function):
            below.add_argument(*flags, **options)
    return parser


def _arguments(name: str, function: Command) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """List the arguments of a command; a recipe's options are those of the first one."""
    from mscsa.recipes import RECIPES
    from mscsa.recipes.options import with_recipe_options

    parser: argparse.ArgumentParser = build_parser(name, function)
    takes_recipe = RECIPE in inspect.signature(function).parameters
    if takes_recipe:
        parser = with_recipe_options(build_parser(name, function), next(iter(RECIPES.values())))
    for action in parser._actions:
        flags = [flag for flag in action.option_strings if flag not in ("-h", "--help")]
        if action.option_strings and not flags:
            continue
        kind = getattr(action, "_typehint", None)
        options: dict[str, Any] = {"help": _plain(str(action.help or ""))}
        if action.nargs == 0:
            options["action"] = "store_true"
        elif not flags and takes_recipe:
            options["choices"] = list(RECIPES)
        elif get_origin(kind) is Literal:
            options["choices"] = [str(each) for each in get_args(kind)]
        yield flags or [action.dest], options


def _plain(text: str) -> str:
    """Leave out what argparse and shells would read as more than text."""
    return text.replace("%", "percent").replace("`", "").split("\n")[0]
