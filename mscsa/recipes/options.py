"""A recipe with the overrides of a YAML file and of the command line, checked with file and line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from operator import itemgetter
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from jsonargparse import ArgumentParser, Namespace, set_parsing_settings

from mscsa.errors import UserError, unknown_name
from mscsa.recipes import RECIPES, get_recipe, is_recipe
from mscsa.recipes.spec import Recipe

SECTIONS = ("model", "data", "augment", "optim", "run")
"""Parts of a recipe that can be overridden; data and augmentation have a type for each task."""

DESCRIPTIVE = tuple(field.name for field in fields(Recipe) if field.name not in SECTIONS)
"""Fields of a recipe that only describe it; a recipe file may hold them."""


@dataclass(frozen=True, kw_only=True)
class RecipeFile:
    """What a recipe file says, its keys known to be a recipe's."""

    path: Path
    overrides: dict[str, dict[str, Any]]
    """Section -> field -> value, not yet checked for type."""
    name: str | None
    """Recipe that it was written for."""
    lines: dict[str, int]
    """Dotted key -> line."""

    def place(self, key: str) -> str:
        """Say where a key stands: FILE:LINE, or FILE where it is not in the file."""
        return f"{self.path}:{self.lines[key]}" if key in self.lines else str(self.path)


def parse_recipe(
    make_parser: Callable[[], ArgumentParser],
    argv: Sequence[str],
    resumed_config: Callable[[Namespace], Path | None],
) -> tuple[Recipe, Namespace]:
    """Parse a command that takes a recipe: the named one, then `--config`, then the options over it.

    With `--print-config` the result is printed and the process ends.

    Args:
        make_parser: Builds the command's parser; it has a positional `recipe`, raises ValueError with
            one line, and gets the recipe's options here.
        argv: The command line after the command.
        resumed_config: Names the recipe file of a run to go on with, which comes before `--config`.
    Returns:
        The recipe, and all that was parsed.
    Raises:
        ValueError: If an option, a value, the recipe or its file is not usable.
    """
    # The recipe's place among the options is known only after parsing, which needs a recipe: which options
    # there are is its task's.
    first = with_recipe_options(make_parser(), _likely_recipe(argv)).parse_args(argv)
    base = get_recipe(first.recipe)
    files = []
    for path in (resumed_config(first), first.config):
        if path is not None and (path == first.config or path.exists()):
            files.append(read_recipe_file(path, base))
            base = _apply_file(base, files[-1], make_parser)
    parser = with_recipe_options(make_parser(), base)
    parsed = parser.parse_args(argv)
    recipe = _recipe_of(parser, parsed, base)
    given = {name for name in ("epochs", "steps") if getattr(recipe.run, name) != getattr(base.run, name)}
    given |= {word.partition("=")[0].removeprefix("--run.") for word in argv}
    if "steps" not in given:
        _refuse_unused_epochs(recipe, files, is_given="epochs" in given)
    if parsed.print_config:
        sys.stdout.write(recipe_yaml(recipe))
        sys.exit(0)
    return recipe, parsed


def _likely_recipe(argv: Sequence[str]) -> Recipe:
    """Look up the first word that names a recipe, rather no option's value; give any if none does."""
    words = [
        (before.startswith("-"), word)
        for before, word in zip(("", *argv), argv, strict=False)
        if is_recipe(word)
    ]
    return get_recipe(min(words, key=itemgetter(0))[1]) if words else next(iter(RECIPES.values()))


def recipe_yaml(recipe: Recipe) -> str:
    """Write a recipe as `--config` reads it."""
    plain = json.loads(json.dumps(asdict(recipe)))  # tuples become lists, which need no tags
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def read_recipe_file(path: str | Path, recipe: Recipe) -> RecipeFile:
    """Read a YAML file in the form that `--print-config` prints, whole or in part.

    No tag of the file runs code.

    Args:
        recipe: What the file overrides; says which keys there are.
    Raises:
        UserError: If it cannot be read, is no YAML, or has an unknown key (names the nearest).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        tree = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except OSError as error:
        raise UserError(
            f"config {path}: {(error.strerror or 'cannot be read').lower()}; check the path"
        ) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f":{mark.line + 1}" if mark else ""
        raise UserError(f"{path}{line}: malformed YAML: {error.problem}; correct this line") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"config {path}: not readable as YAML ({reason}); give a text file in YAML"
        ) from error
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise UserError(
            f"{path}:1: {type(content).__name__} given: give keys such as optim: and under it lr: 0.001"
        )
    lines = _key_lines(tree)
    # YAML reads `true`, `0x10` or `~` as other things than text, also where a key stands.
    for spelled in _keys_that_are_no_text(tree):
        _refuse(path, spelled, lines, (*SECTIONS, *_keys(recipe)))
    _check_keys(path, content, lines, recipe)
    return RecipeFile(
        path=path,
        overrides={section: content[section] for section in SECTIONS if section in content},
        name=content.get("name"),
        lines=lines,
    )


def with_recipe_options(parser: ArgumentParser, recipe: Recipe) -> ArgumentParser:
    """Add a recipe's options to a command's parser, with the recipe's values as defaults."""
    parser.add_argument("--config", help="YAML file of overrides, as --print-config prints them.")
    parser.add_argument(
        "--print-config", action="store_true", help="Print the recipe with all overrides as YAML and stop."
    )
    shown = f"The defaults shown of model, data, augment, optim and run are those of {recipe.name}."
    parser.epilog = f"{shown}\n\n{parser.epilog}"
    return _with_sections(parser, recipe)


def _with_sections(parser: ArgumentParser, recipe: Recipe) -> ArgumentParser:
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    for section in SECTIONS:
        parser.add_argument(f"--{section}", type=type(getattr(recipe, section)))
    parser.set_defaults({section: asdict(getattr(recipe, section)) for section in SECTIONS})
    return parser


def _refuse_unused_epochs(recipe: Recipe, files: Sequence[RecipeFile], *, is_given: bool) -> None:
    """Refuse epochs that someone gave where the recipe's own steps are the length.

    A recipe that is written whole has both, and whoever gives steps wants them.

    Args:
        is_given: Whether the command line has them.
    """
    if recipe.run.steps is None:
        return
    places = ["--run.epochs"] if is_given else []
    for file in files:
        given = file.overrides.get("run", {})
        if "epochs" in given and "steps" not in given:
            places.append(f"{file.place('run.epochs')}: run.epochs")
    if places:
        raise UserError(
            f"{places[0]} is given, but the length of {recipe.name} is run.steps {recipe.run.steps}, by "
            "which epochs mean nothing: give --run.steps N, or --run.steps null for epochs"
        )


def _apply_file(recipe: Recipe, file: RecipeFile, make_parser: Callable[[], ArgumentParser]) -> Recipe:
    if file.name is not None and file.name != recipe.name:
        raise UserError(
            f"{file.place('name')}: written for recipe {file.name}, not {recipe.name}: give that name, or "
            "remove this line"
        )
    parser = _with_sections(type(make_parser())(), recipe)
    try:
        parsed = parser.parse_object(file.overrides)
        return _recipe_of(parser, parsed, recipe)
    except ValueError as error:
        line = " ".join(str(error).removeprefix("--").split())
        key = re.split(r"[:\s]", line)[0]
        raise UserError(f"{file.place(key)}: {line}") from error


def _recipe_of(parser: ArgumentParser, parsed: Namespace, base: Recipe) -> Recipe:
    built = parser.instantiate(parsed)
    return replace(base, **{section: built[section] for section in SECTIONS})


def _keys(recipe: Recipe) -> tuple[str, ...]:
    """List the keys of a recipe's file, dotted."""
    return tuple(
        f"{section}.{field.name}" for section in SECTIONS for field in fields(getattr(recipe, section))
    )


def _check_keys(path: Path, content: Mapping[Any, Any], lines: Mapping[str, int], recipe: Recipe) -> None:
    keys = _keys(recipe)
    for section, values in content.items():
        if section in DESCRIPTIVE:
            continue
        if section not in SECTIONS:
            _refuse(path, str(section), lines, (*SECTIONS, *keys))
        if not isinstance(values, dict):
            given = type(values).__name__
            raise UserError(
                f"{path}:{lines[section]}: {section} is {given}: give its fields, such as "
                f"{next(key for key in keys if key.startswith(f'{section}.'))}"
            )
        known = {field.name for field in fields(getattr(recipe, section))}
        for field_name in values:
            if field_name not in known:
                _refuse(path, f"{section}.{field_name}", lines, keys)


def _refuse(path: Path, key: str, lines: Mapping[str, int], known: tuple[str, ...]) -> None:
    raise unknown_name(
        f"{path}:{lines[key]}: unknown key", key, known, all_names="--print-config shows all keys"
    )


def _keys_that_are_no_text(tree: yaml.Node | None, prefix: str = "") -> Iterator[str]:
    """Find the keys of the first two levels that YAML takes for numbers, truth values and the like."""
    if not isinstance(tree, yaml.MappingNode):
        return
    for key, value in tree.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:str":
            yield f"{prefix}{key.value}"
        if not prefix:
            yield from _keys_that_are_no_text(value, f"{key.value}.")


def _key_lines(tree: yaml.Node | None, prefix: str = "") -> dict[str, int]:
    """Number the lines of the first two levels of keys."""
    lines: dict[str, int] = {}
    if not isinstance(tree, yaml.MappingNode):
        return lines
    for key, value in tree.value:
        dotted = f"{prefix}{key.value}"
        lines[dotted] = key.start_mark.line + 1
        if not prefix:
            lines.update(_key_lines(value, f"{dotted}."))
    return lines
