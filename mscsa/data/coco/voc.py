"""Objects as Pascal VOC and the tools that export it write them: an XML for each image.

JPEGImages/NAME.jpg, Annotations/NAME.xml, ImageSets/Main/{train,val}.txt, or images and XML side by side in
train/ and valid/ (Roboflow). Pixels are counted from 1, and xmax and ymax are the last ones of the object,
as in the VOC development kit (Everingham et al., *The PASCAL Visual Object Classes Challenge*). What is
difficult is taken as COCO's crowds are: not trained on; what is found there counts neither for nor against.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence, Set
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

from mscsa.data.coco.conversion import Conversion
from mscsa.data.coco.splits import ObjectSplit
from mscsa.data.coco.values import flag, number
from mscsa.data.contract import SPLITS, Split
from mscsa.data.division import SPLIT_NAMES
from mscsa.data.places import in_any_case
from mscsa.data.problems import short
from mscsa.data.texts import composed, read_text
from mscsa.data.walking import paths_within
from mscsa.errors import UserError
from mscsa_runtime.errors import Unusable
from mscsa_runtime.images import EXTENSIONS, BadImage, image_size, is_image

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
_Pair = tuple[Path, Path]  # image and XML

_FLAGGED = re.compile(r"(.*\S)\s+(-1|\+?[01])")
# A line of VOC's lists of one class.

_ENCODING = re.compile(rb"<\?xml\b[^>]*?\bencoding\s*=\s*[\"']([A-Za-z][\w.-]*)")
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030"}
# As browsers read them: what says gb2312 often has signs of its successors.


class _Tree(ElementTree.TreeBuilder):
    """Elements of a file that defines no entities, by which a few lines become gigabytes."""

    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuse the file before any entity is defined."""
        raise Unusable("it has a DOCTYPE, which annotations have no need of", "remove it")


def is_voc(root: Path) -> bool:
    """Whether a folder is in Pascal VOC's layout, with boxes."""
    names = [name for names in SPLIT_NAMES.values() for name in names]
    return ((root / "JPEGImages").is_dir() and (root / "Annotations").is_dir()) or any(
        map(_has_xml, in_any_case(root, names))
    )


def find_voc(root: Path, split: Split) -> ObjectSplit:
    """Find the images of a split, and the classes that either split names, in the order of their names.

    Raises:
        UserError: If the split is not there, or no object has a name: where a file cannot be read, for its
            reason.
    """
    place = _place(root, split)
    if place is None:
        raise UserError(
            f"{root / f'ImageSets/Main/{split}.txt'} is not there: list the names of the images of {split} "
            f"in it, one a line, without the ending"
        )
    pairs = _pairs(root, place)
    other_places = [_place(root, each) for each in SPLITS if each != split]
    others = [pair for each in other_places if each is not None for pair in _pairs(root, each)]
    names = tuple(sorted(set().union(*(_names(file) for _, file in pairs + others))))
    if not names:
        raise _nameless(place, [file for _, file in pairs])
    convert = partial(_convert, root, pairs, names)
    label_files = tuple(file for _, file in pairs)
    return ObjectSplit("Pascal VOC's layout", place, root, convert, names, label_files)


def _has_xml(folder: Path) -> bool:
    return folder.is_dir() and any(path.suffix == ".xml" for path in folder.iterdir())


def _place(root: Path, split: Split) -> Path | None:
    """Find the list of a split's images, or the folder that holds them with their annotations."""
    lists = in_any_case(root, (f"ImageSets/Main/{name}.txt" for name in SPLIT_NAMES[split]))
    folders = in_any_case(root, SPLIT_NAMES[split])
    is_file = (path for path in lists if path.is_file())
    return next(is_file, next((path for path in folders if _has_xml(path)), None))


def _pairs(root: Path, place: Path) -> list[_Pair]:
    """Pair images and annotations of a split; of a pair one may not be there."""
    if place.is_dir():
        folder = annotations = place
        images = {composed(path.stem): path for path in paths_within(place, EXTENSIONS)}
        files = {composed(path.stem): path for path in place.glob("*.xml")}
        names = sorted({*images, *files})
    else:
        folder, annotations = root / "JPEGImages", root / "Annotations"
        images, files = _by_name(folder, EXTENSIONS), _by_name(annotations, (".xml",))
        names = _listed_names(place, images.keys() | files.keys())
    return [
        (images.get(name, folder / f"{name}.jpg"), files.get(name, annotations / f"{name}.xml"))
        for name in names
    ]


def _by_name(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Give the files of a folder by their composed names without the ending; none if it is not there yet."""
    found = paths_within(folder, endings) if folder.is_dir() else []
    return {composed(path.relative_to(folder).with_suffix("").as_posix()): path for path in found}


def _listed_names(file: Path, known: Set[str]) -> list[str]:
    """Read the composed names of the images in a list, each once."""
    lines = [line.strip() for line in composed(read_text(file)).splitlines() if line.strip()]
    if all(map(_FLAGGED.fullmatch, lines)):
        lines = _without_flags(lines, known)
    return list(dict.fromkeys(_listed(line, known) for line in lines))


def _without_flags(lines: Sequence[str], known: Set[str]) -> list[str]:
    """Give the images of a list of one class, as VOC has them.

    Behind the name stands a flag: 1 for images that show the class, 0 for those where it is difficult, -1 for
    those that do not. A name of an image that ends like that is no flag.
    """
    return [
        line if line in known else found[1]
        for line in lines
        if (found := _FLAGGED.fullmatch(line)) is not None and (line in known or found[2] != "-1")
    ]


def _listed(line: str, known: Set[str]) -> str:
    """Read the name of an image in a list, as its files have it: other tools leave the ending on."""
    stem = line[: -len(Path(line).suffix)] if is_image(line) else line
    return line if line in known or stem not in known else stem


def _nameless(place: Path, files: Sequence[Path]) -> UserError:
    """Say why no class is known: what keeps the first file from being read, or that objects have no name."""
    for file in files:
        try:
            _read(file)
        except Unusable as bad:
            return UserError(f"{file}: {bad.what}; {bad.remedy}")
    return UserError(f"{place}: no object with a name in the annotations of its images: add some")


def _names(file: Path) -> set[str]:
    """Name the classes of the objects in a file, so far as it can be read."""
    try:
        return {_text(each, "name") for each in _read(file).iter("object")} - {""}
    except Unusable:
        return set()


def _read(file: Path) -> ElementTree.Element:
    try:
        content = file.read_bytes()
        try:
            return _parsed(content)
        except ValueError:
            # Of encodings of several bytes the parser knows UTF alone.
            return _parsed(_decoded(content))
    except OSError as error:
        reason = (error.strerror or "cannot be read").lower()
        raise Unusable(reason, "add it, with no object in it if the image shows none") from error
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise Unusable(f"broken XML: {error}", "write the file again") from error


def _parsed(content: bytes | str) -> ElementTree.Element:
    return ElementTree.fromstring(content, ElementTree.XMLParser(target=_Tree()))


def _decoded(content: bytes) -> str:
    """Decode a file by the encoding that it declares.

    Raises:
        ValueError, LookupError: If it declares none, one that is not known, or is not in it.
    """
    declared = _ENCODING.match(content)
    if declared is None:
        raise ValueError("its encoding is not known")
    name = declared[1].decode().lower()
    return content.decode(_WIDER.get(name, name))


def _text(element: ElementTree.Element, path: str) -> str:
    return composed((element.findtext(path) or "").strip())


def _convert(root: Path, pairs: list[_Pair], names: tuple[str, ...]) -> Conversion:
    found = Conversion(names)
    for image, file in pairs:
        try:
            tree = _read(file)
            size = _size(tree, image)
        except BadImage as bad:
            found.add_unreadable(str(image.relative_to(root)), image, bad.what, bad.remedy)
            continue
        except Unusable as bad:
            found.add_flaw("unreadable annotations", file, bad.what, bad.remedy)
            continue
        found.add_image(str(image.relative_to(root)), size)
        for i, each in enumerate(tree.findall("object"), start=1):
            _add_object(each, f"object {i}", file, names, found)
    return found


def _size(tree: ElementTree.Element, image: Path) -> tuple[int, int]:
    """Give (W, H) in pixels, by the image itself where the file has none, or 0."""
    width, height = (number(_text(tree, f"size/{side}")) for side in ("width", "height"))
    return (int(width), int(height)) if width >= 1 and height >= 1 else image_size(image)


def _add_object(
    element: ElementTree.Element, place: str, file: Path, names: Sequence[str], found: Conversion
) -> None:
    name, difficult = _text(element, "name"), flag(_text(element, "difficult"))
    texts = [_text(element, f"bndbox/{each}") for each in _CORNERS]
    x1, y1, x2, y2 = map(number, texts)
    wrong = None
    if not name:
        wrong = "no name"
    elif math.isnan(x1 + y1 + x2 + y2):
        wrong = f"bndbox {', '.join(f'{a} {short(b)}' for a, b in zip(_CORNERS, texts, strict=True))}"
    elif difficult is None:
        wrong = f"difficult is {short(_text(element, 'difficult'))}, not 0 or 1"
    if wrong is not None:
        found.add_flaw("bad objects", file, f"{place} ({name}): {wrong}", "correct it or remove it")
        return
    box = (x1 - 1, y1 - 1, x2 - x1 + 1, y2 - y1 + 1)
    if min(box[2:]) <= 0:
        what = f"{place} ({name}): without an area"
        found.add_flaw("no area", file, what, "draw it again or remove it", is_left_out=True)
        return
    found.add_object(names.index(name), box, is_crowd=bool(difficult))
