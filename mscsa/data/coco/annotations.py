"""A file of COCO annotations, read once into arrays that worker processes share."""

from __future__ import annotations

import gc
import json
import logging
import marshal
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa.data.coco.box_forms import BORDER_PX, other_form
from mscsa.data.coco.masks import without_stray_parts
from mscsa.data.coco.normalised import normalise
from mscsa.data.coco.values import flag, number, whole_number, whole_numbers
from mscsa.data.problems import short, some_of
from mscsa.errors import UserError

logger = logging.getLogger(__name__)

_PARTS = ("images", "annotations", "categories")
_LONGEST = 10**9  # pixels of an image's side


@dataclass(frozen=True)
class CocoAnnotations:
    """A file of annotations, as far as training and scoring need it.

    Arrays instead of an object for each annotation: worker processes share them as they are, where every
    access to a Python object would copy its page of memory.
    """

    category_ids: tuple[int, ...]
    """In ascending order; label i + 1 is the i-th."""
    category_names: tuple[str, ...]
    image_ids: NDArray[np.int64]
    """In the order of the file, (M,)."""
    file_names: tuple[str, ...]
    sizes: NDArray[np.int64]
    """Height and width in pixels, (M, 2)."""
    starts: NDArray[np.int64]
    """Where the annotations of image i begin, (M + 1,)."""
    annotation_ids: NDArray[np.int64]
    """By image, (A,), for messages alone; the places in the file where one of them is no whole number."""
    boxes: NDArray[np.float64]
    """x, y, width, height in pixels, clipped to the image, (A, 4)."""
    areas: NDArray[np.float64]
    """In pixels, of the box where the file has none, (A,)."""
    is_crowd: NDArray[np.bool_]
    """Whether it is a region of many objects, which is not trained on, (A,)."""
    labels: NDArray[np.int64]
    """1..K, (A,)."""
    segmentations: NDArray[np.uint8]
    """All segmentations, serialised one after the other."""
    segmentation_starts: NDArray[np.int64]
    """Where that of annotation j begins, (A + 1,); of length 0 where there is none."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """Names of the categories that are each other in a mirror image, as `flip_to` of one says."""

    unreadable_ids: tuple[int, ...] = ()
    """Of images whose size could not be read, in layouts that take it from them: reading them tells."""

    def segmentation(self, annotation: int) -> Any:
        """Give a segmentation as the file has it, without stray parts; None where it has none."""
        first, last = self.segmentation_starts[annotation : annotation + 2]
        return marshal.loads(self.segmentations[first:last].tobytes()) if last > first else None

    def objects_of(self, image: int) -> NDArray[np.int64]:
        """Give the places of an image's annotations that are no crowds, (n,)."""
        first, last = self.starts[image : image + 2]
        return first + np.flatnonzero(~self.is_crowd[first:last])

    def corners(self, annotations: NDArray[np.int64]) -> NDArray[np.float32]:
        """Give boxes as x1, y1, x2, y2 in pixels, (n, 4)."""
        boxes = self.boxes[annotations]
        return np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]]).astype(np.float32)


@contextmanager
def paused_collector() -> Iterator[None]:
    """Keep Python from looking for cycles, of which JSON has none, among millions of new objects."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of annotations.

    Raises:
        UserError: If it is not JSON, or lacks one of COCO's lists.
    """
    try:
        with paused_collector():
            content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}; replace it") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(part), list) for part in _PARTS):
        raise UserError(f"{path} is not in COCO's format: give lists {', '.join(_PARTS)}")
    return content


def read_annotations(path: Path) -> CocoAnnotations:
    """Read a file of annotations for training; a file that has not changed is read once.

    Raises:
        UserError: If it is not COCO's format; `mscsa check-data` finds all that is wrong.
    """
    return _read_annotations(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=2)
def _read_annotations(path: Path, _changed: int) -> CocoAnnotations:
    content = read_json(path)
    with paused_collector():
        return compact_annotations(content, path)


def compact_annotations(content: dict[str, Any], path: Path) -> CocoAnnotations:
    """Put the content of a file of annotations into arrays.

    Args:
        content: Lists `images`, `annotations` and `categories`.
        path: The file that messages name.
    Raises:
        UserError: If it is not COCO's format.
    """
    for part in _PARTS:
        for i, each in enumerate(content[part]):
            if not isinstance(each, dict):
                raise _wrong(path, f"{part}[{i}] is {short(each)}, no object")
    categories = [dict(each) for each in content["categories"]]
    normalise("categories", categories)
    images = _distinct(content["images"])
    image_ids = _numbers(images, "images", "id", path)
    _refuse_twice(image_ids.tolist(), "images of id", path)
    sizes = np.array([_size(each, path) for each in images], np.int64).reshape(-1, 2)
    file_names = tuple(_text(each, "images", "file_name", path) for each in images)
    annotations = content["annotations"]
    image_of = _places(_numbers(annotations, "annotations", "image_id", path), image_ids, "image_id", path)
    category_of = _numbers(annotations, "annotations", "category_id", path)
    ids, names = _categories(categories, set(category_of.tolist()), path)
    labels = 1 + _places(category_of, np.array(ids, np.int64), "category_id", path)
    annotation_ids = _names(annotations)
    is_crowd = np.array([_is_crowd(i, each, path) for i, each in enumerate(annotations)], bool)
    boxes = _boxes(annotations, sizes[image_of], path)
    areas = np.array([number(each.get("area")) for each in annotations], np.float64)
    order = _with_area(boxes, annotation_ids, path)
    _say_derived(areas[order], path)
    areas = np.where(areas > 0, areas, boxes[:, 2:].prod(axis=1))  # 0 or NaN: none
    order = order[np.argsort(image_of[order], kind="stable")]
    texts = _serialised([annotations[i].get("segmentation") for i in order], path)
    return CocoAnnotations(
        category_ids=ids,
        category_names=names,
        image_ids=image_ids,
        file_names=file_names,
        sizes=sizes,
        starts=np.searchsorted(image_of[order], np.arange(len(images) + 1)),
        annotation_ids=annotation_ids[order],
        boxes=boxes[order],
        areas=areas[order],
        is_crowd=is_crowd[order],
        labels=labels[order],
        segmentations=np.frombuffer(b"".join(texts), np.uint8),
        segmentation_starts=np.cumsum([0, *map(len, texts)]),
        flip_pairs=_flip_pairs(categories, path),
    )


def _flip_pairs(categories: Sequence[dict[str, Any]], path: Path) -> tuple[tuple[str, str], ...]:
    """Read `flip_to`, the id or the name of what a category is in a mirror image."""
    name_of = {whole_number(each.get("id")): str(each.get("name")) for each in categories}
    pairs = set()
    for each in categories:
        given, own = each.get("flip_to"), str(each.get("name"))
        if given is None or given == "":
            continue
        other = given if given in name_of.values() else name_of.get(whole_number(given))
        if other is None:
            raise UserError(
                f"{path}: flip_to of category {own!r} is {short(given)}: give the id or name of a category"
            )
        if other != own:
            pairs.add((min(own, str(other)), max(own, str(other))))
    return tuple(sorted(pairs))


def _wrong(path: Path, what: str) -> UserError:
    return UserError(f"{path} is not in COCO's format: {what}; `mscsa check-data` lists all that is wrong")


def _distinct(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out entries that are given twice, word for word, as put-together files have them."""
    return list({json.dumps(each, sort_keys=True): each for each in entries}.values())


def _numbers(entries: Sequence[dict[str, Any]], part: str, key: str, path: Path) -> NDArray[np.int64]:
    def refuse(i: int) -> UserError:
        given = f"{short(entries[i][key])} is no whole number" if key in entries[i] else "is missing"
        return _wrong(path, f"{key} of {part}[{i}] {given}")

    return whole_numbers([each.get(key) for each in entries], refuse)


def _names(annotations: Sequence[dict[str, Any]]) -> NDArray[np.int64]:
    """Give the ids of annotations, which nothing depends on, or else their places in the file."""
    try:
        return whole_numbers([each.get("id") for each in annotations], lambda _: ValueError())
    except ValueError:
        return np.arange(len(annotations))


def _text(entry: dict[str, Any], part: str, key: str, path: Path) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise _wrong(path, f"{key} of {part} {short(entry.get('id'))} is {short(value)}, no text")
    return value


def _size(image: dict[str, Any], path: Path) -> tuple[int, int]:
    """Read height and width in pixels."""
    found = [whole_number(image.get(side)) for side in ("height", "width")]
    height, width = (0 if each is None else each for each in found)
    if not (0 < height < _LONGEST and 0 < width < _LONGEST):
        sides = ", ".join(f"{side} {short(image.get(side))}" for side in ("height", "width"))
        raise _wrong(path, f"image {short(image.get('id'))} has {sides}: give both in pixels")
    return height, width


def _is_crowd(place: int, annotation: dict[str, Any], path: Path) -> bool:
    found = flag(annotation.get("iscrowd"))
    if found is None:
        raise _wrong(path, f"iscrowd of annotations[{place}] is {short(annotation['iscrowd'])}: give 0 or 1")
    return found


def _refuse_twice(values: Sequence[Any], what: str, path: Path) -> None:
    twice = next((value for value, count in Counter(values).items() if count > 1), None)
    if twice is not None:
        raise UserError(f"{path} has two {what} {twice!r}: give each its own")


def _categories(
    entries: Sequence[dict[str, Any]], used: set[int], path: Path
) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Read ids and names, in ascending order of the ids.

    Two kinds without annotations are left out, since Roboflow's category 0, which stands for the whole, is
    both: those that others name as their group (`supercategory`), and those of a name that is another's too.
    """
    entries = _distinct(entries)
    groups = {
        str(each.get("supercategory")) for each in entries if each.get("supercategory") != each.get("name")
    }
    numbers = _numbers(entries, "categories", "id", path)
    pairs = sorted(
        (int(number), _text(each, "categories", "name", path))
        for number, each in zip(numbers, entries, strict=True)
    )
    counts = Counter(name for _, name in pairs)
    pairs = [
        (number, name)
        for number, name in pairs
        if number in used or (counts[name] == 1 and name not in groups)
    ] or pairs
    if not pairs:
        raise UserError(f"{path} has no categories: name the classes there")
    ids, names = zip(*pairs, strict=True)
    _refuse_twice(ids, "categories of id", path)
    _refuse_twice(names, "categories of name", path)
    return ids, names


def _boxes(
    annotations: Sequence[dict[str, Any]], sizes: NDArray[np.int64], path: Path
) -> NDArray[np.float64]:
    """Read boxes x, y, width, height, and clip those that reach beyond their image (H, W)."""
    given: list[Any] = [each.get("bbox") for each in annotations]
    for i, box in enumerate(given):
        if not isinstance(box, list) or len(box) != 4:
            raise _wrong(path, f"bbox of annotations[{i}] is {short(box)}, not 4 numbers")
    boxes = np.array([number(each) for box in given for each in box], np.float64).reshape(-1, 4)
    corners = np.hstack([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]])
    clipped = corners.clip(0, np.tile(sizes[:, ::-1], 2))
    is_inside = (corners == clipped).all(axis=1, keepdims=True)
    kept = np.where(is_inside, boxes, np.hstack([clipped[:, :2], clipped[:, 2:] - clipped[:, :2]]))
    # Those of which nothing is left are told of as objects without an area.
    is_cut = (np.abs(corners - clipped) > BORDER_PX).any(axis=1) & (kept[:, 2:] > 0).all(axis=1)
    form = other_form(boxes, sizes[:, ::-1].astype(np.float64))
    hint = "" if form is None else f": {form[0]}"
    if is_cut.any():
        what = "%s: %d boxes that reach more than %g px outside their image are clipped to it%s"
        logger.warning(what, path, is_cut.sum(), BORDER_PX, hint)
    elif form is not None:
        logger.warning("%s: bbox %s of annotations[%d] and others%s", path, given[form[1]], form[1], hint)
    return kept


def _say_derived(areas: NDArray[np.float64], path: Path) -> None:
    """Say how many objects have the area of their box, by which scores tell small from large."""
    derived = int((~(areas > 0)).sum())
    if derived:
        what = "%s: %d of %d objects have no area above 0: that of their box is taken"
        logger.info(what, path, derived, len(areas))


def _with_area(
    boxes: NDArray[np.float64], annotation_ids: NDArray[np.int64], path: Path
) -> NDArray[np.int64]:
    """Give the places of boxes with an area, and say how many have none."""
    has_area = (boxes[:, 2:] > 0).all(axis=1) & np.isfinite(boxes).all(axis=1)
    if not has_area.all():
        left_out = annotation_ids[~has_area]
        logger.warning(
            "%s: %d objects whose box has no area inside the image are left out (annotation %s)",
            path,
            len(left_out),
            some_of(list(map(str, left_out.tolist()))),
        )
    return np.flatnonzero(has_area)


def _serialised(segmentations: Sequence[Any], path: Path) -> list[bytes]:
    """Serialise what JSON can hold by what is fastest at it; the bytes never leave this process."""
    cleaned = [without_stray_parts(each) for each in segmentations]
    strays = sum(
        len(one) - len(other)
        for one, other in zip(segmentations, cleaned, strict=True)
        if one is not other
        if isinstance(one, list)
    )
    if strays:
        logger.warning("%s: %d polygons of one or two points beside others are left out", path, strays)
    return [marshal.dumps(each) if each else b"" for each in cleaned]


def _places(given: NDArray[np.int64], known: NDArray[np.int64], what: str, path: Path) -> NDArray[np.int64]:
    """Find each value's place in `known`.

    Raises:
        UserError: If one is not there.
    """
    order = np.argsort(known, kind="stable")
    places = (
        order[np.searchsorted(known[order], given).clip(max=max(0, len(known) - 1))] if len(known) else given
    )
    is_known = known[places] == given if len(known) else np.zeros(len(given), bool)
    if not is_known.all():
        raise UserError(
            f"{path} has an annotation of the unknown {what} {given[~is_known][0]}: correct it; "
            "`mscsa check-data` lists all"
        )
    return places
