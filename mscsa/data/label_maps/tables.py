"""Which class a value or a colour of a label map means: tables as people and tools write them."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.data.contract import IGNORED
from mscsa.data.problems import short
from mscsa.data.texts import csv_rows, read_text
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

Colour = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

CLASSES_FILE = "classes.txt"

TABLES: tuple[str, ...] = (
    "class_dict",
    "_class_dict",
    "_classes",
    "classes",
    "label_colors",
    "labelmap",
    "label_map",
)
TABLES += ("id2label", "palette", "class_names", "codes", "labels")
"""Names of the files that may hold a table, those with colours or values before those of names alone."""

_ENDINGS = (".csv", ".json", ".txt")
_NO_CLASS = ("void", "ignore", "ignored", "__ignore__", "unlabeled", "unlabelled")
_COLUMNS = {
    "name": ("name", "class", "class_name", "label", "category", "label_name"),
    "value": ("value", "pixel value", "pixel_value", "id", "index", "label_id", "class_id", "pixel"),
    "colour": ("color", "colour", "rgb"),
    "flip": ("flip_to", "mirror", "flip"),
}
_CHANNELS = (("r", "g", "b"), ("red", "green", "blue"))
_NUMBERS = r"(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})"
_LINES = (
    re.compile(rf"(?P<name>[^:]+):\s*{_NUMBERS}\s*(?::.*)?"),  # CVAT's labelmap.txt
    re.compile(rf"{_NUMBERS}[\s,;]+(?P<name>\D.*)"),  # CamVid's label_colors.txt
    re.compile(rf"(?P<name>.*\D)[\s,;]+{_NUMBERS}"),
)
_NUMBERED = re.compile(r"(\d{1,3})(?:\s*[:,;=]\s*|\s+)(\S.*)")


@dataclass(frozen=True)
class Row:
    """What a table says of one class."""

    name: str
    value: int | None = None
    colour: Colour | None = None
    flip_to: str | None = None
    """The class that it is in a mirror image."""


@dataclass(frozen=True)
class LabelTable:
    """From the values or colours of label maps to classes."""

    names: tuple[str, ...]
    """Of the classes, in the order of their indices."""
    values: tuple[tuple[int, int], ...]
    """Value and class, `IGNORED` for none; a value that is not there is wrong."""
    colours: tuple[tuple[Colour, int], ...] = ()
    """Likewise, where maps are of colours; maps of grey values then hold places in the table."""
    file: Path | None = None
    """Where it was read."""
    flips: tuple[tuple[str, str], ...] = ()
    """Pairs of classes that are each other in a mirror image."""


def plain_table(names: Sequence[str], file: Path | None = None) -> LabelTable:
    """Make a table of classes whose values are their places, and of `IGNORED`."""
    return LabelTable(tuple(names), (*((i, i) for i in range(len(names))), (IGNORED, IGNORED)), file=file)


def find_table(folders: Iterable[Path]) -> LabelTable | None:
    """Read the table that one of some folders holds, the first; None if there is none.

    Raises:
        UserError: If it cannot be read, or names no class.
    """
    for folder in folders:
        tables = [path for name in TABLES for end in _ENDINGS if (path := folder / f"{name}{end}").is_file()]
        read, errors = [], []
        for path in tables:
            try:
                read.append((path, read_rows(path)))
            except UserError as error:
                errors.append(error)
        if errors and not read:
            raise errors[0]
        for unread in errors:  # another table is there; what this one is for, nobody knows
            logger.warning("%s; it is left out", unread)
        described = [each for each in read if any(row.colour or row.value is not None for row in each[1])]
        for path, rows in [*described, *read]:
            return _table_of(rows, path)
    return None


def read_rows(path: Path) -> list[Row]:
    """Read a table of classes: CSV with a header, JSON, or text with a class on each line.

    Raises:
        UserError: If it cannot be read, or is in none of the forms that are known.
    """
    text = read_text(path)
    if path.suffix == ".json":
        return _json_rows(text, path)
    if path.suffix == ".csv":
        return _csv_rows(text, path)
    return _text_rows(text)


def _table_of(rows: Sequence[Row], path: Path) -> LabelTable:
    """Number the classes of a table in the order of its rows; rows of one name are one class."""
    if all(row.colour is None and row.value is None for row in rows):
        return _listed([row.name for row in rows], path)
    if not all(row.colour is not None for row in rows) and not all(row.value is not None for row in rows):
        raise UserError(f"{path}: some classes have a colour or value and some have none: give it to all")
    ignored = [row.name for row in rows if row.name.lower() in _NO_CLASS]
    if ignored:
        logger.info("%s: %s is no class by its name, and ignored", path, ", ".join(dict.fromkeys(ignored)))
    by_value = sorted(rows, key=lambda row: row.value or 0) if rows[0].colour is None else list(rows)
    names = tuple(dict.fromkeys(row.name for row in by_value if row.name not in ignored))
    _check_count(names, path)
    places = {name: i for i, name in enumerate(names)} | dict.fromkeys(ignored, IGNORED)
    values = {i if row.value is None else row.value: places[row.name] for i, row in enumerate(by_value)}
    colours = {row.colour: places[row.name] for row in rows if row.colour is not None}
    _refuse_twice([row.value for row in rows if row.value is not None], "value", path)
    _refuse_twice([row.colour for row in rows if row.colour is not None], "colour", path)
    flips = {
        tuple(sorted((row.name, row.flip_to))) for row in rows if row.flip_to and row.flip_to != row.name
    }
    return LabelTable(
        names,
        tuple(({IGNORED: IGNORED} | values).items()),
        tuple(colours.items()),
        path,
        tuple(sorted((one, other) for one, other in flips)),
    )


def _listed(names: list[str], path: Path) -> LabelTable:
    names = names[1:] if names[:1] == ["__ignore__"] else names  # labelme's labels.txt
    _check_count(names, path)
    twice = next((name for i, name in enumerate(names) if name in names[:i]), None)
    if twice is not None:
        raise UserError(f"{path} names {twice!r} twice: give each class a name of its own")
    return plain_table(names, path)


def _check_count(names: Sequence[str], path: Path) -> None:
    if not names or len(names) > IGNORED:
        raise UserError(f"{path} names {len(names)} classes: 1 to {IGNORED} are possible")


def _refuse_twice(given: Sequence[Any], what: str, path: Path) -> None:
    twice = next((each for i, each in enumerate(given) if each in given[:i]), None)
    if twice is not None:
        raise UserError(f"{path} gives the {what} {twice} twice: give each class its own")


def _text_rows(text: str) -> list[Row]:
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    for form in _LINES:
        found = [form.fullmatch(line) for line in lines]
        if lines and all(found):
            return [
                Row(each["name"].strip(" \t,;:"), colour=_colour(each.groups(), each["name"]))
                for each in found
                if each is not None
            ]
    numbered = [_NUMBERED.fullmatch(line) for line in lines]
    pairs = [(int(each[1]), each[2].strip()) for each in numbered if each is not None]
    if len(pairs) == len(lines) and len({value for value, _ in pairs}) == len(pairs) > 0:
        return [Row(name, value) for value, name in pairs]
    return [Row(line) for line in lines]


def _colour(groups: Sequence[str | None], name: str) -> Colour:
    red, green, blue = (int(each) for each in groups if each is not None and each != name)
    return red, green, blue


def _csv_rows(text: str, path: Path) -> list[Row]:
    rows = csv_rows(text)
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    columns = {
        what: next((header.index(each) for each in known if each in header), None)
        for what, known in _COLUMNS.items()
    }
    channels = next(
        ([header.index(each) for each in three] for three in _CHANNELS if set(three) <= set(header)), None
    )
    if columns["name"] is None:
        raise UserError(
            f"{path} has the columns {short(header)}: give a first line name,r,g,b or name,value, as the "
            "label maps are of colours or of grey values"
        )
    found = []
    for line, row in rows[1:]:
        cells = {what: row[at] for what, at in columns.items() if at is not None and at < len(row)}
        colour: Any = cells.get("colour")
        if channels is not None:
            colour = [row[at] for at in channels if at < len(row)]
        place = f"{path}:{line}"
        found.append(_row(cells.get("name"), cells.get("value"), colour, cells.get("flip"), place))
    return found


def _json_rows(text: str, path: Path) -> list[Row]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; correct it") from error
    entries: list[Any] = []
    if isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, str) and key.isdecimal():  # id2label
                entries.append(_row(value, key, None, None, str(path)))
            elif isinstance(value, int):
                entries.append(_row(key, value, None, None, str(path)))
            else:
                entries.append(_row(key, None, value, None, str(path)))
        return entries
    for each in content if isinstance(content, list) else ():
        if isinstance(each, str):
            entries.append(Row(each))
        elif isinstance(each, dict):
            given = {what: _first(each, known) for what, known in _COLUMNS.items()}
            entries.append(_row(given["name"], given["value"], given["colour"], given["flip"], str(path)))
    if not entries:
        raise UserError(f"{path} is {short(content)}: give names, or objects with name and color or value")
    return entries


def _first(entry: dict[str, Any], keys: Sequence[str]) -> Any:
    return next((entry[key] for key in keys if key in entry), None)


def _row(name: Any, value: Any, colour: Any, flip: Any, place: str) -> Row:
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"{place}: a class without a name: give it one")
    number = None
    if value not in (None, ""):
        number = _whole(value)
        if number is None:
            raise UserError(f"{place}: the value of {name!r} is {short(value)}: give 0 to {IGNORED}")
    found = None
    if colour not in (None, "", []):
        found = _parsed_colour(colour)
        if found is None:
            raise UserError(
                f"{place}: the colour of {name!r} is {short(colour)}: give red, green, blue, 0 to {IGNORED}"
            )
    return Row(name.strip(), number, found, flip if isinstance(flip, str) and flip else None)


def _parsed_colour(given: Any) -> Colour | None:
    if isinstance(given, str):
        if re.fullmatch(r"#[0-9a-fA-F]{6}", given):
            return int(given[1:3], 16), int(given[3:5], 16), int(given[5:7], 16)
        given = re.findall(r"-?\d+", given)
    if not isinstance(given, (list, tuple)) or len(given) not in (3, 4):
        return None
    numbers = [_whole(each) for each in given[:3]]
    red, green, blue = numbers
    return None if red is None or green is None or blue is None else (red, green, blue)


def _whole(value: Any) -> int | None:
    """Read a whole number of 0 to 255; None if it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return int(number) if 0 <= number <= IGNORED and number == int(number) else None
