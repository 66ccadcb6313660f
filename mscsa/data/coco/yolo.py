"""Objects as YOLO's tools write them: data.yaml, and for each image a text of boxes or polygons.

Read by the rules of Ultralytics (`ultralytics/data/utils.py`, `img2label_paths`, `verify_image_label`,
`check_det_dataset`), with three differences: a folder of `data.yaml` that is not there is looked for beside
`data.yaml` itself, a line of five columns is a box wherever it stands, and the case of a folder of labels may
be another than that of its images'.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

from mscsa.data.coco.conversion import Conversion
from mscsa.data.coco.masks import MIN_POLYGON
from mscsa.data.coco.splits import ObjectSplit
from mscsa.data.coco.values import number, whole_number
from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES
from mscsa.data.places import first_file, in_any_case
from mscsa.data.problems import short
from mscsa.data.texts import composed, decoded, read_text
from mscsa.data.walking import files_within, paths_within
from mscsa.errors import UserError
from mscsa_runtime.errors import Unusable
from mscsa_runtime.images import EXTENSIONS, BadImage, image_size, is_image

DESCRIPTIONS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
CLASSES_FILES = ("classes.txt", "labels/classes.txt")

_OUTSIDE = 0.01
# How far a coordinate may lie outside 0..1, as Ultralytics allows: rounding.

_BOX_COLUMNS = 5
# Class, x, y, width, height.


def is_yolo(root: Path) -> bool:
    """Whether a folder is in YOLO's layout: by its description, or by labels that are texts."""
    return any((root / name).is_file() for name in DESCRIPTIONS) or _has_text_labels(root)


def find_yolo(root: Path, split: Split) -> ObjectSplit:
    """Find images and classes of a split.

    Raises:
        UserError: If classes or images are not there.
    """
    file = next((root / name for name in DESCRIPTIONS if (root / name).is_file()), None)
    if file is None:
        file, names = _listed_classes(root)
        places, columns = _usual_places(root, split), None
    else:
        content = _read_description(file)
        names = _class_names(content, file)
        places = _described_places(content, file, split)
        # Key points follow the box; nothing but this tells them from a polygon.
        columns = None if content.get("kpt_shape") is None else _BOX_COLUMNS
    images = list(dict.fromkeys(path for place in places for path in _images(place, file.parent)))
    if not images:
        raise UserError(f"{file}: no image in {places[0]}: put the images of {split} there")
    label_files = _label_files(images)
    pairs = list(zip(images, label_files, strict=True))
    folders = [place for place in places if place.is_dir()]
    convert = partial(_convert, root, pairs, folders, names, columns)
    return ObjectSplit("YOLO's layout", file, root, convert, names, label_files)


def _has_text_labels(root: Path) -> bool:
    """Whether a folder of labels holds texts and no label maps, of which the first ends the search."""
    for above in (root, *in_any_case(root, SPLIT_NAMES["train"])):
        folder = above / "labels"
        has_text = False
        for file in files_within(folder) if folder.is_dir() else ():
            if is_image(file.name):
                return False
            has_text |= file.name.lower().endswith(".txt")
        if has_text:
            return True
    return False


def _read_description(file: Path) -> dict[str, Any]:
    text = read_text(file)
    try:
        content = yaml.safe_load(text)
        as_written = yaml.load(text, yaml.BaseLoader)  # scalars as texts
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{file} cannot be read as YAML: {reason}; correct it") from error
    if not isinstance(content, dict):
        raise UserError(f"{file} is {short(content)}: give names, train and val, as YOLO's tools write them")
    # `no` and `007` are names of classes there, not False and 7.
    names = content.get("names")
    return {**content, "names": as_written.get("names", names)} if names else content


def _class_names(content: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Read `names`, a list or a mapping from 0..K-1; where it is missing, `nc` classes are numbered."""
    names, count = content.get("names"), whole_number(content.get("nc"))
    if names is None and count is not None and 0 < count < 10**6:
        return tuple(f"class {i}" for i in range(count))
    if isinstance(names, dict):
        places = [whole_number(key) for key in names]
        if sorted(-1 if each is None else each for each in places) != list(range(len(places))):
            keys = [key if place is None else place for key, place in zip(names, places, strict=True)]
            raise UserError(f"{file}: names has the keys {short(keys)}: give 0 to K-1, each once")
        names = [name for _, name in sorted(zip(places, names.values(), strict=True))]
    if not isinstance(names, list) or not names:
        raise UserError(f"{file}: names is {short(names)}: give the names of the classes, as a list")
    found = _own_names(names, file)
    if count is not None and count != len(found):
        raise UserError(f"{file}: nc is {count}, names has {len(found)}: correct one of them")
    return found


def _own_names(given: Iterable[Any], file: Path) -> tuple[str, ...]:
    """Read the names of classes, of which each has its own."""
    names = tuple(composed(str(name).strip()) for name in given)
    wrong = next((name for i, name in enumerate(names) if not name or name in names[:i]), None)
    if wrong is not None:
        raise UserError(f"{file}: the class name {wrong!r} is empty or given twice: give each class its own")
    return names


def _listed_classes(root: Path) -> tuple[Path, tuple[str, ...]]:
    file = next((root / name for name in CLASSES_FILES if (root / name).is_file()), None)
    if file is None:
        raise UserError(
            f"{root} is in YOLO's layout (labels/NAME.txt) without {DESCRIPTIONS[0]}: give it, with names, "
            f"train and val, or {CLASSES_FILES[0]} with the name of a class on each line"
        )
    names = _own_names(filter(str.strip, read_text(file).splitlines()), file)
    if not names:
        raise UserError(f"{file} is empty: give the name of a class on each line")
    return file, names


def _usual_places(root: Path, split: Split) -> list[Path]:
    # Of `images` the case matters: it tells where the labels are.
    names = SPLIT_NAMES[split]
    below, above = (
        in_any_case(root / "images", names),
        (place / "images" for place in in_any_case(root, names)),
    )
    tried = [place for pair in zip(below, above, strict=True) for place in pair]
    found = next((place for place in tried if place.is_dir()), None)
    if found is None:
        raise UserError(
            f"{tried[0]} is not there: {root} is in YOLO's layout, divide its images into images/train and "
            "images/val, its labels likewise"
        )
    return [found]


def _described_places(content: dict[str, Any], file: Path, split: Split) -> list[Path]:
    """Find the folders of images and the lists of them that a description names for a split."""
    key = next((name for name in SPLIT_NAMES[split] if content.get(name)), split)
    given = content.get(key)
    values = given if isinstance(given, list) else [given]
    texts = [value.replace("\\", "/") for value in values if isinstance(value, str) and value]
    if not texts or len(texts) < len(values):
        raise UserError(
            f"{file}: {key} is {short(given)}: give a folder of images, a list of files, or several"
        )
    base = file.parent
    if isinstance(content.get("path"), str) and (base / content["path"]).is_dir():
        base /= content["path"]
    places = []
    for value in texts:
        # Roboflow writes ../train/images and means train/images.
        parts = (value, value.removeprefix("../"))
        tried = [
            place
            for start in (base, file.parent)
            for place in (*(start / part for part in parts), *in_any_case(start, parts))
        ]
        found = next((place for place in tried if place.exists()), None)
        if found is None:
            raise UserError(f"{file}: {key} names {value}, and {tried[0]} is not there: correct it")
        places.append(found)
    return places


def _images(place: Path, base: Path) -> Iterator[Path]:
    """List the images in a folder, below it too, or those that a text names, one a line."""
    if place.is_dir():
        yield from paths_within(place, EXTENSIONS)
        return
    for line in read_text(place).splitlines():
        if line.strip():
            name = line.strip().replace("\\", "/")
            yield first_file([(place.parent, name), (base, name)]) or place.parent / name


def _label_files(images: Sequence[Path]) -> tuple[Path, ...]:
    """Give the text of each image: of its name in the folder of labels, or beside it."""
    folder_of = cache(_label_folder)  # looked up once for all images of a folder
    found = []
    for image in images:
        name, folder = image.with_suffix(".txt").name, folder_of(image.parent)
        found.append(first_file([(folder, name), (image.parent, name)]) or folder / name)
    return tuple(found)


def _label_folder(folder: Path) -> Path:
    """Give the folder of the labels of the images in a folder: the last `images` of its path is `labels`."""
    parts = folder.parts
    place = next((i for i in reversed(range(len(parts))) if parts[i] == "images"), None)
    if place is None:
        return folder
    return next(in_any_case(Path(*parts[:place]), ["/".join(("labels", *parts[place + 1 :]))]))


def _convert(
    root: Path,
    pairs: Sequence[tuple[Path, Path]],
    folders: Sequence[Path],
    names: tuple[str, ...],
    columns: int | None,
) -> Conversion:
    """Read images and their texts; of each line the first `columns`, all if None."""
    found = Conversion(names)
    for image, labels in pairs:
        name = str(image.relative_to(root) if image.is_relative_to(root) else image)
        try:
            size = image_size(image)
        except BadImage as bad:
            found.add_unreadable(name, image, bad.what, bad.remedy)
            continue
        found.add_image(name, size)
        if labels.is_file():
            _read_labels(labels, size, len(names), columns, found)
    label_files = {labels for _, labels in pairs}
    for folder in {_label_folder(each) for each in folders}:
        for path in paths_within(folder, (".txt",)) if folder.is_dir() else ():
            if path not in label_files and path.name != "classes.txt":
                what, remedy = "labels of no image", "add the image, or remove them"
                found.add_flaw("labels without an image", path, what, remedy, is_left_out=True)
    return found


def _read_labels(
    path: Path, size: tuple[int, int], num_classes: int, columns: int | None, found: Conversion
) -> None:
    """Read a text of labels: on each line a class and a box or a polygon, in sides of the image (W, H)."""
    seen: set[tuple[float, ...]] = set()
    try:
        lines = decoded(path.read_bytes()).splitlines()
    except Unusable as bad:
        found.add_flaw("unreadable labels", path, bad.what, bad.remedy)
        return
    for i, line in enumerate(lines, start=1):
        words = line.split()[:columns]
        if not words:
            continue
        values = tuple(map(number, words))
        wrong = _what_is_wrong(words, values, num_classes)
        if wrong is not None:
            found.add_flaw("bad lines", path, f"line {i}: {wrong}", "correct it or remove it")
            continue
        box, polygon = _in_pixels(np.array(values[1:]), size)
        if min(box[2:]) <= 0:
            remedy = "draw it again or remove it"
            found.add_flaw("no area", path, f"line {i}: without an area", remedy, is_left_out=True)
        elif values in seen:
            found.add_flaw("given twice", path, f"line {i}: given before", "remove it", is_left_out=True)
        else:
            seen.add(values)
            found.add_object(int(values[0]), box, polygon)


def _what_is_wrong(words: list[str], values: tuple[float, ...], num_classes: int) -> str | None:
    """Say what is wrong with a line; None if nothing is."""
    if not 0 <= values[0] < num_classes or values[0] != int(values[0]):
        return f"class {short(words[0])} is none of 0 to {num_classes - 1}"
    count = len(values) - 1
    if count != 4 and (count < MIN_POLYGON or count % 2):
        return f"{count} numbers after the class: a box has 4 (x, y, width, height), a polygon 6, 8, ..."
    outside = next(
        (
            word
            for word, value in zip(words[1:], values[1:], strict=True)
            if not -_OUTSIDE <= value <= 1 + _OUTSIDE
        ),
        None,
    )
    if outside is not None:
        return f"{short(outside)} is no share of the image's side, 0 to 1"
    return None


def _in_pixels(
    values: np.ndarray[Any, np.dtype[np.float64]], size: tuple[int, int]
) -> tuple[tuple[float, float, float, float], list[float] | None]:
    """Give box and polygon of a line in pixels of an image (W, H)."""
    points = values.reshape(-1, 2) * size
    if len(points) == 2:
        (x, y), (width, height) = (points[0] - points[1] / 2).tolist(), points[1].tolist()
        return (x, y, width, height), None
    (x, y), (width, height) = points.min(axis=0).tolist(), np.ptp(points, axis=0).tolist()
    return (x, y, width, height), points.ravel().tolist()
