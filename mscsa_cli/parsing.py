"""From a function's signature and docstring to the parser of its command, with errors of one line."""

from __future__ import annotations

import difflib
import inspect
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from jsonargparse import ArgumentParser
from jsonargparse import DefaultHelpFormatter as JsonargparseFormatter

Device = Literal["auto", "cpu", "gpu"]

Command = Callable[..., int | None]
"""What a command runs: its parameters are the options; it returns the exit code, None for 0."""


class HelpFormatter(RawDescriptionHelpFormatter, JsonargparseFormatter):
    """jsonargparse's, which keeps the lines of the example."""


class CommandParser(ArgumentParser):
    """jsonargparse's parser, whose errors are one line that names the nearest option."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            formatter_class=HelpFormatter,
            exit_on_error=False,
            allow_abbrev=False,
            print_config=None,
            **options,
        )

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a ValueError of one line."""
        raise ValueError(self._one_line(" ".join(message.split()))) from ex

    def _one_line(self, message: str) -> str:
        wrong_value = re.match(r'Parser key "([\w.]+)": .*?Expected an? (.+?)\. Got value: (.*)$', message)
        if wrong_value:
            key, kind, given = wrong_value.groups()
            return f"--{key}: {given!r} given, {_readable_type(kind)} expected"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            return message
        option = unknown.split()[0].partition("=")[0]
        if not option.startswith("--"):
            return f"unexpected argument {option!r}; `{self.prog} --help` shows what is allowed"
        known = [each for action in self._actions for each in action.option_strings]
        near = difflib.get_close_matches(option, known, n=1, cutoff=0.0)[0]
        return f"unknown option {option}: did you mean {near}? (`{self.prog} --help`)"


def _readable_type(kind: str) -> str:
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind)
    kind = re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", kind)
    names = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    return names.get(kind, kind)


def build_parser(name: str, function: Command) -> CommandParser:
    """Build a command's parser from its function: options from the signature, help from the docstring."""
    documentation = parse_docstring(inspect.getdoc(function) or "")
    example = (inspect.getdoc(function) or "").partition("Example:\n")[2].splitlines()[0].strip()
    parser = CommandParser(
        prog=f"mscsa {name}",
        description=documentation.short_description,
        epilog=f"example:\n  {example}",
    )
    helps = {parameter.arg_name: parameter.description for parameter in documentation.params}
    types = get_type_hints(function, localns={"Recipe": str})
    for parameter in inspect.signature(function).parameters.values():
        _add_argument(parser, parameter, types[parameter.name], helps[parameter.name])
    return parser


def _add_argument(parser: ArgumentParser, parameter: inspect.Parameter, kind: Any, text: str | None) -> None:
    is_positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    is_required = parameter.default is inspect.Parameter.empty
    flag = parameter.name if is_positional else f"--{parameter.name.replace('_', '-')}"
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    options: dict[str, Any] = {"help": text}
    if get_origin(kind) is list:
        options["nargs"] = "+"
        kind = get_args(kind)[0]
    elif is_positional and not is_required:
        options["nargs"] = "?"
    if not is_required:
        options["default"] = parameter.default
    elif not is_positional:
        options["required"] = True
    parser.add_argument(flag, type=kind, **options)


def fail(message: str, code: int = 2) -> int:
    """Print one line on stderr and give the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
