"""From a function's signature and docstring to the parser of its command, with errors of one line.

They are ValueErrors: the package's own module of errors would import torch.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Callable, Iterator
from dataclasses import MISSING, dataclass, field, fields
from itertools import pairwise
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints

from docstring_parser import parse as parse_docstring
from docstring_parser import parse_from_object
from jsonargparse import ActionYesNo, ArgumentParser
from jsonargparse import DefaultHelpFormatter as JsonargparseFormatter

Device = Literal["auto", "cpu", "gpu"]

Command = Callable[..., int | None]
"""What a command runs: its parameters are the options; it returns the exit code, None for 0."""


@dataclass(frozen=True, kw_only=True)
class ModelForm:
    """Which form of a model a command is about: an option for each field."""

    size: str | None = None
    """Image size in pixels, 224 or HEIGHTxWIDTH; the model's default if not given."""
    dense: bool = False
    """Take the pyramid form, for detection and segmentation."""
    head: str | None = None
    """Take the pyramid form with this segmenter (semantic_fpn, ...; 150 classes) or detector (mask_rcnn,
    ...; 80 classes) on it."""
    neck: str | None = None
    """Take this neck (`mscsa list --necks`) in the place of MSCSA; the pyramid form."""
    neck_config: dict[str, Any] | None = None
    """Fields of that neck's configuration, such as `--neck-config.channels 64`."""
    budget: float | None = None
    """Let MSCSA, or the neck, cost at most this share of the backbone's MACs (0.10 = +10 %)."""
    mscsa: dict[str, Any] | None = None
    """Fields of MSCSAConfig, such as `--mscsa.depth 2`."""

    @property
    def size_px(self) -> tuple[int, int] | None:
        """(H, W); None for the model's default."""
        return parse_size(self.size) if self.size else None


@dataclass(frozen=True, kw_only=True)
class Asking:
    """How a segmenter or detector is asked about an image: an option for each field."""

    window: Literal["whole", "slide"] = "whole"
    """Segmentation: the whole image at once, or a window that slides over it."""
    crop: int | None = None
    """Segmentation: side of the sliding window in pixels; the training crop if not given."""
    stride: int | None = None
    """Segmentation: pixels between two windows; two thirds of the window if not given."""
    scales: list[float] = field(default_factory=lambda: [1.0])
    """Segmentation: average over these scales of the image."""
    flip: bool = False
    """Ask about the mirror image: of a segmenter the mean, of a detector all of both."""
    tile: int | None = None
    """Detection: look at square tiles of this side in pixels, too, beside the whole."""
    overlap: int | None = None
    """Detection: pixels that neighbouring tiles share; a quarter of a tile if not given."""


@dataclass(frozen=True, kw_only=True)
class Running:
    """On what and how the models of a measurement run: an option for each field."""

    device: Device = "auto"
    """Where to run; auto takes the GPU if there is one."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Arithmetic; a training step autocasts to it."""
    layout: Literal["contiguous", "channels_last"] = "contiguous"
    """Memory layout of images and convolutions."""
    fuse: bool = False
    """Fold the norms of both for inference, as eval and predict do."""
    compile: bool = False
    """Let torch.compile make a program of both for each batch size; of detectors, of all before the head."""
    cuda_graph: bool = False
    """Replay a CUDA graph of each, so that the GPU waits for no launch; inference, no detector."""


_GROUPS = (ModelForm, Asking, Running)
"""Dataclasses that stand for an option for each of their fields."""

_FORM_TEXTS = {text.arg_name: text.description for each in _GROUPS for text in parse_from_object(each).params}


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

    def parse_args(self, args: Any = None, *others: Any, **options: Any) -> Any:
        """Parse as jsonargparse does; what no option can take is an error like any other."""
        words = None if args is None else [self._with_bare_home(*pair) for pair in pairwise(["", *args])]
        return self._parsed(super().parse_args, words, *others, **options)

    def parse_object(self, *arguments: Any, **options: Any) -> Any:
        """As `parse_args`."""
        return self._parsed(super().parse_object, *arguments, **options)

    def _parsed(self, parse: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            parsed = parse(*arguments, **options)
        except OverflowError as error:
            self.error("a number is given that is too large for a float; give a smaller one", error)
        for key, value in list(parsed.items()):
            self._refuse_no_text(key, value)
            parsed[key] = with_home(value)
        return parsed

    def _with_bare_home(self, before: str, word: str) -> str:
        """Put the home folder for ~ alone, which YAML reads as null: --data.root=~, too, but no number."""
        flag, equals, value = word.partition("=") if word.startswith("--") else (before, "", word)
        if value != "~" or (flag.startswith("--") and not self._takes_text(flag)):
            return word
        return f"{flag}={with_home(value)}" if equals else with_home(value)

    def _takes_text(self, flag: str) -> bool:
        """Whether a text may stand behind a flag: as its value, or as an argument where it takes none."""
        if flag == "--" or "=" in flag:
            return True
        action = next((each for each in self._actions if flag in each.option_strings), None)
        if action is None or action.nargs == 0:
            return action is not None
        kind = getattr(action, "_typehint", None) or action.type
        return str in (kind, *get_args(kind))

    def _refuse_no_text(self, key: str, value: Any) -> None:
        """Refuse what is no path, name or pattern: an empty path would be the folder that the shell is in."""
        for text in value if isinstance(value, (list, tuple)) else [value]:
            if text == "":
                self.error(f"{self._flag(key)}: '' given, which is empty; give a value, or leave it out")
            if isinstance(text, str) and "\0" in text:
                self.error(f"{self._flag(key)}: {text!r} given; take out the NUL character, \\x00")

    def _flag(self, key: str) -> str:
        """Give what a person writes for a key: the option, or the name of a positional argument."""
        action = next((each for each in self._actions if each.dest == key), None)
        return f"--{key}" if action is None else next(iter(action.option_strings), key)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong as a ValueError of one line."""
        raise ValueError(self._one_line(" ".join(message.split()))) from ex

    def _one_line(self, message: str) -> str:
        # Of a union before a single type, which is also told of what is inside one.
        no_union = re.match(
            r'Parser key "([\w.]+)".*?: .*? Subtypes: \[(.*?)\] Errors: .*Given value: ?(.*)$', message
        )
        if no_union:
            key, kinds, given = no_union.groups()
            return f"{self._flag(key)}: {given!r} given, {_readable_union(kinds)} expected"
        wrong_value = re.match(
            r'Parser key "([\w.]+)".*?: .*?Expected an? (.+?)\. Got value: ?(.*)$', message
        )
        if wrong_value:
            key, kind, given = wrong_value.groups()
            return f"{self._flag(key)}: {given!r} given, {_readable_type(kind)} expected"
        unknown = message.removeprefix("unrecognized arguments: ")
        if unknown == message:
            return message
        option = unknown.split()[0].partition("=")[0]
        if not option.startswith("--"):
            return f"unexpected argument {option!r}; `{self.prog} --help` shows what is allowed"
        from mscsa_runtime.errors import nearest

        known = [each for action in self._actions for each in action.option_strings]
        # Of a recipe's options people remember the last word: --lr for --optim.lr.
        same_end = [each for each in known if each.endswith(f".{option.lstrip('-')}")]
        hint = nearest(
            same_end[0] if same_end else option, known, all_names=f"`{self.prog} --help` shows all"
        )
        return f"unknown option {option}: {hint}"


def with_home(value: Any) -> Any:
    """Put the home folder where a value begins with ~, which shells leave in --data.root=~/d and files have.

    No value but a path begins so. A file or folder here that is really called so stays what is meant.
    """
    if isinstance(value, list):
        return [with_home(each) for each in value]
    if not isinstance(value, str) or not value.startswith("~"):
        return value
    return value if os.path.lexists(value.partition("/")[0]) else os.path.expanduser(value)


def _readable_type(kind: str) -> str:
    kind = re.sub(r"<class '(\w+)'>", r"\1", kind)
    kind = re.sub(r"(?:typing\.)?Literal\[(.*)\]", r"one of \1", kind)
    kind = re.sub(r"^tuple\[(.*)\]$", r"a list [\1]", kind)
    if kind.startswith("dict"):
        return f"a mapping such as {_example_of(kind)}"
    names = {"float": "a number", "int": "a whole number", "bool": "true or false", "str": "text"}
    return {**names, "tuple": "a list", "list": "a list", "NoneType": "null"}.get(kind, kind)


def _example_of(kind: str) -> str:
    """Give the form of a mapping: {name: value} of dict, {name: {name: value}} of a dict of dicts."""
    if not kind.startswith("dict["):
        return "{name: value}" if kind == "dict" else "value"
    return f"{{name: {_example_of(kind.removeprefix('dict[str, '))}}}"


def _readable_union(kinds: str) -> str:
    """Say what one of several types allows: a list of numbers for a tuple, null for None."""
    words: list[str] = []
    for part in kinds.split(", "):
        if words and words[-1].count("[") > words[-1].count("]"):  # within a type
            words[-1] += f", {part}"
        else:
            words.append(part)
    return " or ".join(map(_readable_type, words))


def build_parser(name: str, function: Command) -> CommandParser:
    """Build a command's parser from its function: options from the signature, help from the docstring."""
    documentation = parse_docstring(inspect.getdoc(function) or "")
    example = (inspect.getdoc(function) or "").partition("Example:\n")[2].splitlines()[0].strip()
    parser = CommandParser(
        prog=f"mscsa {name}",
        description=documentation.short_description,
        epilog=f"example:\n  {example}",
    )
    texts = {parameter.arg_name: parameter.description for parameter in documentation.params}
    for parameter in _parameters(function):
        text = texts.get(parameter.name) or _FORM_TEXTS[parameter.name]
        _add_argument(parser, parameter, text)
    return parser


def gather_arguments(function: Command, parsed: dict[str, Any]) -> dict[str, Any]:
    """Turn what was parsed into the function's arguments: options of one of `_GROUPS` become one."""
    types = get_type_hints(function, localns={"Recipe": str})
    arguments = dict(parsed)
    for name, group in types.items():
        if group in _GROUPS:
            arguments[name] = group(**{each.name: arguments.pop(each.name) for each in fields(group)})
    return arguments


def _parameters(function: Callable[..., Any]) -> Iterator[inspect.Parameter]:
    """List a function's parameters with their types; a dataclass of `_GROUPS` stands for its fields."""
    types = get_type_hints(function, localns={"Recipe": str})
    for parameter in inspect.signature(function).parameters.values():
        kind = types[parameter.name]
        if kind in _GROUPS:
            yield from _fields_as_parameters(kind)
        else:
            yield parameter.replace(annotation=kind)


def _fields_as_parameters(group: type[Any]) -> Iterator[inspect.Parameter]:
    types = get_type_hints(group)
    for each in fields(group):
        default = each.default if each.default_factory is MISSING else each.default_factory()
        yield inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=types[each.name]
        )


def _add_argument(parser: ArgumentParser, parameter: inspect.Parameter, text: str | None) -> None:
    kind = parameter.annotation
    is_positional = parameter.kind is not inspect.Parameter.KEYWORD_ONLY
    is_required = parameter.default is inspect.Parameter.empty
    flag = parameter.name if is_positional else f"--{parameter.name.replace('_', '-')}"
    if kind is bool and parameter.default:
        parser.add_argument(flag, action=ActionYesNo(no_prefix="no-"), default=True, help=text)
        return
    if kind is bool:
        parser.add_argument(flag, action="store_true", help=text)
        return
    options: dict[str, Any] = {"help": text}
    if kind == str | bool:  # a switch that may name what it is about
        options |= {"nargs": "?", "const": True}
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


def parse_size(text: str) -> tuple[int, int]:
    """Read "224" or "800x1280" (height x width) as (H, W) in pixels.

    Raises:
        ValueError: If it is neither.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise ValueError(f"size {text!r} is not a size: give 224, or HEIGHTxWIDTH such as 800x1280")
    return int(parts[0]), int(parts[-1])


def parse_pixel(text: str) -> tuple[int, int]:
    """Read "Y,X" as a pixel.

    Raises:
        ValueError: If it is not two whole numbers.
    """
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise ValueError(f"query {text!r} is not a pixel: give Y,X such as 40,120")
    return int(parts[0]), int(parts[1])


def fail(message: str, code: int = 2) -> int:
    """Print one line on stderr and give the exit code."""
    print(f"error: {message}", file=sys.stderr)
    return code
