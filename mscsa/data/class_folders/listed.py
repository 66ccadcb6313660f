"""Images whose classes a table names: CSV as people, Kaggle, fastai and Roboflow write it, or JSON lines."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES, of_split, tell_division
from mscsa.data.places import by_named_folder, in_any_case
from mscsa.data.problems import short, some_of
from mscsa.data.texts import composed, csv_rows, decoded
from mscsa.data.walking import files_within
from mscsa.errors import UserError
from mscsa_runtime.errors import Unusable
from mscsa_runtime.images import EXTENSIONS, is_image

logger = logging.getLogger(__name__)

_WHOLE = ("labels", "annotations", "metadata", "data", "dataset", "train_labels", "image_labels")
_OF_SPLIT: tuple[str, ...] = (
    "{}.csv",
    "{}_labels.csv",
    "{}/labels.csv",
    "{}/_classes.csv",
    "{}/metadata.csv",
)
_OF_SPLIT += ("{}/metadata.jsonl",)
_FILE: tuple[str, ...] = (
    "filename",
    "file_name",
    "file",
    "filepath",
    "file_path",
    "image_path",
    "path",
    "image",
    "img",
)
_FILE += ("image_name", "image_id", "id", "name")
_LABEL: tuple[str, ...] = (
    "class_name",
    "label_name",
    "category_name",
    "label",
    "class",
    "category",
    "labels",
    "target",
)
_LABEL += ("species", "breed", "diagnosis", "class_id", "label_id")
_SPLIT = ("split", "set", "subset", "partition", "phase", "usage", "dataset", "data set")
_IS_VAL = ("is_valid", "is_val", "valid")
_MARKS = ("0", "1", "0.0", "1.0")
"""What the columns of classes hold where each has its own."""
_YES, _NO = ("1", "1.0", "true", "yes"), ("0", "0.0", "false", "no")


@dataclass(frozen=True)
class _Row:
    line: int
    file: str
    label: str
    split: str | None


@dataclass(frozen=True)
class ListedClasses:
    """One split of images whose classes a table names."""

    split: Split
    file: Path
    """The table."""
    images_of: Mapping[str, list[str]]
    """Class -> paths of its images in this split; classes of the other split too."""
    is_divided: bool
    """Whether nothing says which image is in which split."""

    @property
    def place(self) -> Path:
        """What messages name."""
        return self.file

    def class_names(self) -> list[str]:
        """Name the classes of both splits, sorted; numbers by their value."""
        names = list(self.images_of)
        return sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names)

    def images(self, name: str) -> list[str]:
        """Return the paths of the split's images of a class, sorted."""
        return sorted(self.images_of.get(composed(name), ()))

    def describe(self, name: str) -> str:
        """Say where a class stands, for messages."""
        return f"{self.file} (class {name!r})"

    def left_out(self, names: Iterable[str]) -> str | None:
        """Say what is left out: nothing is."""
        return None

    def files(self) -> tuple[Path, ...]:
        """Give the files that say what the classes are."""
        return (self.file,)


def find_listed(root: Path, split: Split) -> ListedClasses | None:
    """Find the table of a split's images and classes, and read it; None if there is none.

    Raises:
        UserError: If a row names no image, no class or no split, or one image two classes.
    """
    own = {each: _table_of(root, each) for each in SPLIT_NAMES}
    if all(own.values()):
        classes = {each: _by_class(root, path) for each, path in own.items() if path is not None}
        labels = sorted({*classes["train"], *classes["val"]})
        file = own[split]
        assert file is not None
        return ListedClasses(
            split, file, {name: classes[split].get(name, []) for name in labels}, is_divided=False
        )
    file = _whole_table(root) or own["train"]
    if file is None:
        return None
    rows = _rows(file) or []
    if any(row.split is not None for row in rows):
        sides = {row.line: _side(row, file) for row in rows}
        kept = [row for row in rows if sides[row.line] == split]
        if (count := sum(side is None for side in sides.values())) and split == "train":
            logger.info("%s: %d rows are of neither train nor val, and left out", file, count)
        chosen = _resolved(root, file, kept)
        return ListedClasses(
            split, file, {row.label: chosen.get(row.label, []) for row in rows}, is_divided=False
        )
    tell_division(root, "images of each class")
    whole = _resolved(root, file, rows)
    divided = {label: _own(root, paths, split) for label, paths in whole.items()}
    return ListedClasses(split, file, divided, is_divided=True)


def _own(root: Path, paths: Sequence[str], split: Split) -> list[str]:
    """Keep the paths of a split, by a hash of their names below the root."""
    names = {
        Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path: path
        for path in paths
    }
    return [names[name] for name in of_split(names, split)]


def has_listed(root: Path) -> bool:
    """Whether a folder holds a table of images and classes, by its name and columns."""
    return _whole_table(root) is not None or _table_of(root, "train") is not None


def _whole_table(root: Path) -> Path | None:
    return next((path for name in _WHOLE for path in _files(root, name) if _rows(path) is not None), None)


def _files(root: Path, name: str) -> list[Path]:
    return [path for end in (".csv", ".tsv", ".jsonl") if (path := root / f"{name}{end}").is_file()]


def _table_of(root: Path, split: Split) -> Path | None:
    # Capitals of folders alone: what is called Train.csv beside folders may be anything.
    forms = [(form, name) for form in _OF_SPLIT for name in SPLIT_NAMES[split]]
    places = in_any_case(root, [Path(form.format(name)).parent.as_posix() for form, name in forms])
    paths = (place / Path(form.format(name)).name for place, (form, name) in zip(places, forms, strict=True))
    return next((path for path in paths if path.is_file() and _rows(path) is not None), None)


def _by_class(root: Path, file: Path) -> dict[str, list[str]]:
    return _resolved(root, file, _rows(file) or [])


def _rows(path: Path) -> list[_Row] | None:
    """Read a table of images and classes; None if it is none, by its columns."""
    return _read_rows(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _read_rows(path: Path, _changed: int) -> list[_Row] | None:
    content = path.read_bytes()
    try:
        rows = _parsed(decoded(content), path)
    except Unusable as bad:
        if _parsed(content.decode(errors="replace"), path) is None:
            return None
        raise UserError(f"{path} cannot be read: {bad.what}; {bad.remedy}") from bad
    return None if rows is None else [replace(row, label=composed(row.label)) for row in rows]


def _parsed(text: str, path: Path) -> list[_Row] | None:
    if path.suffix == ".jsonl":
        return _from_json(text, path)
    lines = csv_rows(text)
    if not lines:
        return None
    if len(lines[0][1]) == 2 and is_image(lines[0][1][0]):  # no header
        return [_Row(i, row[0], row[-1], None) for i, row in lines]
    header = [cell.lower() for cell in lines[0][1]]
    return _from_columns(header, lines[0][1], lines[1:], path)


def _from_columns(
    header: Sequence[str], written: Sequence[str], lines: Sequence[tuple[int, list[str]]], path: Path
) -> list[_Row] | None:
    files = [i for i, row in enumerate(zip(*(row for _, row in lines[:1]), strict=True)) if is_image(row[0])]
    at = next((header.index(name) for name in _FILE if name in header), files[0] if files else None)
    split_at = next((header.index(name) for name in (*_SPLIT, *_IS_VAL) if name in header), None)
    others = [i for i in range(len(header)) if i not in (at, split_at)]
    label_at = next(
        (header.index(name) for name in _LABEL if name in header and header.index(name) != at), None
    )
    if at is None or not others:
        return None
    is_listing = label_at is None and len(others) > 1
    if is_listing and not all(row[i] in _MARKS for _, row in lines for i in others if i < len(row)):
        return None
    if label_at is None and not is_listing:
        label_at = others[0]
    rows = []
    for line, row in lines:
        cells = [*row, *[""] * (len(header) - len(row))]
        if is_listing:  # a column of 0 and 1 for each class: Roboflow, Kaggle
            label = _one_of([written[i] for i in others if cells[i] in ("1", "1.0")], f"{path}:{line}")
        else:
            label = cells[label_at or 0]
        side = None if split_at is None else f"{header[split_at]}={cells[split_at]}"
        rows.append(_Row(line, cells[at], label, side))
    return _without_fractions(rows)


def _from_json(text: str, path: Path) -> list[_Row] | None:
    rows = []
    for line, content in enumerate(text.splitlines(), start=1):
        if not content.strip():
            continue
        try:
            entry = json.loads(content)
        except ValueError as error:
            raise UserError(f"{path}:{line} is not JSON: {error}; correct it") from error
        if not isinstance(entry, dict):
            return None
        file = next((entry[name] for name in _FILE if name in entry), None)
        label = next((entry[name] for name in _LABEL if name in entry), None)
        side = next((f"{name}={entry[name]}" for name in (*_SPLIT, *_IS_VAL) if name in entry), None)
        if file is None or label is None:
            return None
        rows.append(_Row(line, str(file), str(label), side))
    return rows


def _one_of(names: Sequence[str], place: str) -> str:
    if len(names) > 1:
        raise UserError(f"{place}: an image of several classes, {some_of(names)}: give each image one")
    return names[0] if names else ""


def _without_fractions(rows: list[_Row]) -> list[_Row]:
    """Write 1.0 as 1, where all labels are whole numbers that pandas made floats of."""
    if not all(re.fullmatch(r"\d+\.0", row.label) for row in rows):
        return rows
    return [_Row(row.line, row.file, row.label.removesuffix(".0"), row.split) for row in rows]


def _side(row: _Row, file: Path) -> Split | None:
    """Say which split a row is of, or None for neither."""
    column, _, value = (row.split or "").partition("=")
    word = value.strip().lower()
    if column in _IS_VAL:
        if word in _YES or word in _NO:
            return "val" if word in _YES else "train"
        raise UserError(f"{file}:{row.line}: {column} is {short(value)}: give true or false")
    for split, names in SPLIT_NAMES.items():
        if word in (*names, *(("dev", "eval") if split == "val" else ())):
            return split
    if word.startswith("test") or word in ("", "unlabeled", "unlabelled"):
        return None
    raise UserError(f"{file}:{row.line}: {column} is {short(value)}: give train, val or test")


def _resolved(root: Path, file: Path, rows: Sequence[_Row]) -> dict[str, list[str]]:
    """Find the image of each row, by class.

    A name is relative to the table or to the root, an image's name in any folder below the root where it is
    the only one of it, or a whole path; the ending may be missing. Where it says a folder that is there, the
    image lies below that one.
    """
    index = _index(root)
    choose = by_named_folder(root, [path for found in index.values() for path in found])
    label_of: dict[str, _Row] = {}
    missing = []
    for row in rows:
        if not row.label:
            raise UserError(f"{file}:{row.line}: {row.file} has no class: give it one, or remove the row")
        path = _find(row, file, root, index, choose)
        if path is None:
            missing.append(row)
        elif path in label_of and label_of[path].label != row.label:
            raise UserError(
                f"{file}:{row.line}: {row.file} is {row.label!r} here and {label_of[path].label!r} in line "
                f"{label_of[path].line}: give each image one class"
            )
        else:
            label_of[path] = row
    if missing:
        elsewhere = index.get(composed(missing[0].file.replace("\\", "/").rpartition("/")[2]), [])
        only = f", only {some_of(sorted(elsewhere), 3)}" if elsewhere else ""
        raise UserError(
            f"{file}:{missing[0].line}: {missing[0].file}: no such image below {root}{only} "
            f"({len(missing)} such rows): add it, remove the row, or correct its folder"
        )
    found: dict[str, list[str]] = {}
    for path, row in label_of.items():
        found.setdefault(row.label, []).append(path)
    return found


def _index(root: Path) -> dict[str, list[str]]:
    """List the images below a folder by their composed names, with and without ending."""
    index: dict[str, list[str]] = {}
    for entry in files_within(root):
        if is_image(entry.name):
            whole = composed(entry.name)
            for name in {whole, Path(whole).stem}:
                index.setdefault(name, []).append(entry.path)
    return index


def _find(
    row: _Row,
    file: Path,
    root: Path,
    index: Mapping[str, list[str]],
    choose: Callable[[str, Iterable[str]], list[str]],
) -> str | None:
    name = row.file.replace("\\", "/")
    relative = name.removeprefix("./")
    found = index.get(composed(relative.rpartition("/")[2]), [])
    for base in (file.parent, root):
        for path in (base / relative, *(base / f"{relative}{end}" for end in EXTENSIONS)):
            if str(path) in found:
                return str(path)
    found = choose(relative, found)
    if len(found) > 1:
        raise UserError(
            f"{file}:{row.line}: {row.file} may be {some_of(sorted(found), 3)}: give its folder, too"
        )
    if found:
        return found[0]
    return name if Path(name).is_absolute() and Path(name).is_file() else None
