"""Looking through the annotations of one split, without its images."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.data.coco.annotation_checks import ListedImage, check_annotations
from mscsa.data.coco.annotations import paused_collector
from mscsa.data.coco.mask_checks import compacted
from mscsa.data.coco.normalised import normalise
from mscsa.data.coco.splits import ObjectSplit, part_of
from mscsa.data.coco.values import flag, whole_number
from mscsa.data.contract import Split
from mscsa.data.problems import Findings, Problem, short

_PARTS = ("images", "annotations", "categories")


@dataclass(frozen=True)
class FileReport:
    """What a file of annotations says, so far as it can be read, and what is wrong with it."""

    problems: list[Problem]
    images: list[ListedImage]
    categories: dict[int, str]
    """Id -> name."""
    used: frozenset[int]
    """Ids of the categories that have an object."""


def check_annotation_file(path: Path, part: Split | None = None) -> FileReport:
    """Look through a file of annotations, or through a split of one that holds both.

    Finds whatever of ids, names, sizes, categories, boxes, areas, crowds and masks training could not use or
    would be misled by. The images themselves are not touched.
    """
    findings = Findings(path)
    with paused_collector():
        content = _read_parts(path, findings)
        return _check_parts(content if part is None else part_of(content, part), findings)


def check_objects(split: ObjectSplit) -> FileReport:
    """Look through the annotations of a split, whatever their layout: as `check_annotation_file` does."""
    if split.convert is None:
        return check_annotation_file(split.file, split.part)
    findings = Findings(split.file)
    found = split.convert()
    for flaw in found.flaws:
        findings.add(flaw.kind, flaw.what, flaw.remedy, flaw.path)
    if not found.annotations:
        findings.add("no object", "no image has an object that can be used", "add some")
    parts = {
        "images": found.readable_images,
        "annotations": [compacted(each) for each in found.annotations],
        "categories": found.categories,
    }
    return _check_parts(parts, findings)


def _check_parts(parts: dict[str, list[dict[str, Any]]], findings: Findings) -> FileReport:
    for part in _PARTS:
        normalise(part, parts[part])
    categories = _check_categories(parts["categories"], findings)
    images = _check_images(parts["images"], findings)
    _check_ids(parts["annotations"], "annotation", "annotations", _image_of, findings)
    check_annotations(parts["annotations"], images, categories, findings)
    objects = [each for each in parts["annotations"] if not flag(each.get("iscrowd"))]
    used = {each["category_id"] for each in objects if type(each.get("category_id")) is int}
    if parts["annotations"] and not objects:
        findings.add(
            "no object", "all annotations are crowds: there is nothing to learn or to score", "add some"
        )
    return FileReport(findings.problems(), images, categories, frozenset(used))


def _read_parts(path: Path, findings: Findings) -> dict[str, list[dict[str, Any]]]:
    """Read the file's three lists; what is missing or no list is empty."""
    kind, remedy = "broken JSON", "write the file again"
    content = None
    try:
        content = json.loads(path.read_bytes(), object_hook=compacted)
    except json.JSONDecodeError as error:
        where = f"at line {error.lineno}, column {error.colno}"
        findings.add(kind, f"broken JSON {where}: {error.msg.lower()}", remedy)
    except UnicodeDecodeError as error:
        findings.add(kind, f"broken JSON: byte {error.start} is not {error.encoding}", remedy)
    except RecursionError:
        findings.add(kind, "broken JSON: nested too deeply", remedy)
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        findings.add("unreadable file", reason, "check the path and its permissions")
    except ValueError as error:  # a whole number of thousands of digits
        findings.add(kind, f"broken JSON: {error}", remedy)
    else:
        if not isinstance(content, dict):
            what = f"the top level is {_kind_of(content)}, not an object with {', '.join(_PARTS)}"
            findings.add("not COCO's format", what, "give COCO's format")
    if not isinstance(content, dict):
        return {part: [] for part in _PARTS}
    return {part: _read_part(content, part, findings) for part in _PARTS}


def _read_part(content: dict[str, Any], part: str, findings: Findings) -> list[dict[str, Any]]:
    entries = content.get(part)
    if not isinstance(entries, list):
        what = f"{part!r} is {_kind_of(entries)}, not a list" if part in content else f"no {part!r}"
        findings.add("not COCO's format", what, f"give a list of {part}")
        return []
    if not entries:
        findings.add("not COCO's format", f"the list of {part} is empty", "add them")
    if set(map(type, entries)) <= {dict}:
        return entries
    places = [i for i, entry in enumerate(entries) if not isinstance(entry, dict)]
    findings.add_all(
        f"entries of {part} that are no objects",
        places,
        lambda i: f"{part}[{i}] is {_kind_of(entries[i])}, not an object",
        "correct or remove it",
    )
    return [entry for entry in entries if isinstance(entry, dict)]


def _check_categories(entries: Sequence[dict[str, Any]], findings: Findings) -> dict[int, str]:
    names: dict[int, str] = {}
    _check_ids(entries, "category", "categories", lambda entry: repr(entry.get("name")), findings)
    _check_names(entries, _CATEGORY_NAMES, findings)
    for entry in entries:
        number = entry.get("id")
        if type(number) is int:
            names.setdefault(number, str(entry.get("name")))
    return names


def _check_images(entries: Sequence[dict[str, Any]], findings: Findings) -> list[ListedImage]:
    images = []
    _check_ids(entries, "image", "images", lambda entry: short(entry.get("file_name")), findings)
    _check_names(entries, _FILE_NAMES, findings)
    for entry in entries:
        number, name = entry.get("id"), entry.get("file_name")
        name = name if isinstance(name, str) else ""
        width, height = _pixels(entry.get("width")), _pixels(entry.get("height"))
        if not (width and height):
            sides = ", ".join(f"{side} {short(entry.get(side))}" for side in ("width", "height"))
            what = f"image {short(number)} ({name}): {sides}"
            findings.add("images without a size", what, "give both in pixels, as whole numbers above 0")
        if type(number) is int:
            images.append(ListedImage(number, name, (width, height) if width and height else None))
    return images


@dataclass(frozen=True, kw_only=True)
class _Names:
    """What is said of names that are none, or that two entries have."""

    key: str
    one: str
    none: tuple[str, str]
    """Kind and remedy of an entry without a name."""
    twice: tuple[str, str]
    """The same of two entries with one."""
    says: Callable[[str], str]
    """A name in a sentence: "has ... of"."""


_CATEGORY_NAMES = _Names(
    key="name",
    one="category",
    none=("categories without a name", "name it"),
    twice=("names of two categories", "give each category its own name"),
    says=lambda name: f"the name {name!r}",
)
_FILE_NAMES = _Names(
    key="file_name",
    one="image",
    none=("images without a file name", "name its file"),
    twice=("files of two images", "list each file once"),
    says=lambda name: f"the file {name}",
)


def _check_names(entries: Sequence[dict[str, Any]], names: _Names, findings: Findings) -> None:
    """Check that every entry has a name, and of one name all are of one id."""
    first_of: dict[str, Any] = {}
    for entry in entries:
        number, name = entry.get("id"), entry.get(names.key)
        if not isinstance(name, str) or not name:
            (kind, remedy), what = names.none, f": {names.key} {short(name)} is no text"
        elif number != first_of.setdefault(name, number):
            (kind, remedy), what = names.twice, f" has {names.says(name)} of {names.one} {first_of[name]}"
        else:
            continue
        findings.add(kind, f"{names.one} {short(number)}{what}", remedy)


def _check_ids(
    entries: Sequence[dict[str, Any]],
    one: str,
    part: str,
    describe: Callable[[dict[str, Any]], str],
    findings: Findings,
) -> None:
    """Check that every entry has an id of its own."""
    ids = [entry.get("id") for entry in entries]
    findings.add_all(
        f"{part} without an id",
        [i for i, number in enumerate(ids) if type(number) is not int or whole_number(number) is None],
        lambda i: (
            f"{part}[{i}] ({describe(entries[i])}): "
            + (f"id {short(ids[i])} is no whole number of 64 bits" if "id" in entries[i] else "no id")
        ),
        "give each its own whole number",
    )
    numbers = [number for number in ids if type(number) is int]
    if len(set(numbers)) == len(numbers):
        return
    twice = {number: count for number, count in Counter(numbers).items() if count > 1}
    places: dict[int, list[int]] = {}
    for i, number in enumerate(ids):
        if type(number) is int and number in twice:
            places.setdefault(number, []).append(i)
    findings.add_all(
        f"ids of more than one {one}",
        list(twice),
        lambda number: (
            f"{one} id {number} is given {twice[number]} times: "
            + ", ".join(describe(entries[i]) for i in places[number][:3])
            + (", ..." if twice[number] > 3 else "")
        ),
        "give each its own",
    )


def _image_of(annotation: dict[str, Any]) -> str:
    return f"image {short(annotation.get('image_id'))}"


def _pixels(value: Any) -> int | None:
    return value if type(value) is int and 0 < value < 10**9 else None


def _kind_of(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return kinds.get(type(value), "a number")
