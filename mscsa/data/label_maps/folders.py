"""Where the images and label maps of a split lie, whatever their folders are called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from pathlib import Path

from mscsa.data.contract import Split
from mscsa.data.division import SPLIT_NAMES
from mscsa.data.places import in_any_case
from mscsa.data.texts import composed
from mscsa.data.walking import files_within, paths_within
from mscsa_runtime.images import EXTENSIONS, FORMATS

LABEL_FORMATS = ("PNG", "TIFF", "BMP", "GIF")
"""Pillow's names of the formats of label maps: those that keep every value."""

LABEL_EXTENSIONS = tuple(extension for name in LABEL_FORMATS for extension in FORMATS[name])

IMAGES = ("images", "image", "imgs", "img", "img_dir", "jpegimages", "leftimg8bit", "rgb")
"""What folders of images are called, in lower case."""

LABELS: tuple[str, ...] = (
    "labels",
    "masks",
    "label",
    "mask",
    "annotations",
    "ann_dir",
    "gtfine",
    "segmentationclass",
)
LABELS += ("segmentationclasspng", "segmentations", "groundtruth", "ground_truth", "gt", "annot")
"""What folders of label maps are called, in lower case."""

_BESIDE = ("_labels", "_masks", "_mask", "_label", "annot", "_annot", "_gt", "_annotations")
_LISTS = ("ImageSets/Segmentation/{}.txt", "{}.txt", "splits/{}.txt")

MASK_SUFFIXES: tuple[str, ...] = (
    "_mask",
    "_masks",
    "_label",
    "_labels",
    "_seg",
    "_segmentation",
    "_gt",
    "_lbl",
    "_annotation",
)
MASK_SUFFIXES += ("-mask", "-label", "_L", "_P")
"""Ends of the names of label maps that lie beside their images."""

_SEEN = 1000
# Files that are looked at to find out what a folder holds.


@dataclass(frozen=True)
class MapPlaces:
    """Folders of one split."""

    form: str
    """What the form is called, for people."""
    images: Path
    labels: Path
    listed: Path | None = None
    """A file that names the split's images, where both splits share the folders."""
    other_list: Path | None = None
    """The file of the other split, where this one has none: it names what is not in this one."""
    test_list: Path | None = None
    """The file that names what is in neither split, where no file says what is in this one."""
    is_divided: bool = False
    """Whether nothing tells the splits apart: names then do."""

    @property
    def is_one_folder(self) -> bool:
        """Whether images and label maps lie beside each other."""
        return self.images == self.labels


def find_places(root: Path, split: Split) -> MapPlaces | None:
    """Find the folders of a split in the first form that train is in; None if there is none.

    A split that is missing from that form has folders that are not there.
    """
    for form in (_by_kind, _by_split, _side_by_side, _together):
        if next(form(root, "train"), None) is None:
            continue
        found = next(form(root, split), None)
        return found or next(_expected(root, split, form(root, "train")), None)
    if any(_shared(root)):
        return _of_shared(root, split, *next(_shared(root)))
    if has_suffixed(root):
        return MapPlaces("images and label maps in one folder", root, root, is_divided=True)
    return None


def has_suffixed(folder: Path) -> bool:
    """Whether images and label maps lie beside each other in a folder, told apart by a suffix."""
    files = list(islice(_visible_files(folder), _SEEN))
    images = {composed(path.stem) for path in files if path.suffix.lower() in EXTENSIONS}
    maps = {composed(path.stem) for path in files if path.suffix.lower() in LABEL_EXTENSIONS}
    return any(
        stem.removesuffix(suffix) in images
        for stem in maps
        for suffix in MASK_SUFFIXES
        if stem.endswith(suffix)
    )


def map_files(folder: Path, extensions: tuple[str, ...]) -> dict[str, list[Path]]:
    """List the visible files below a folder by their composed names without extension, folders included."""
    found: dict[str, list[Path]] = {}
    for path in paths_within(folder, extensions):
        name = composed(path.relative_to(folder).with_suffix("").as_posix())
        found.setdefault(name, []).append(path)
    return found


def _folders(root: Path) -> dict[str, Path]:
    """Give the visible folders in a folder by their names in lower case."""
    if not root.is_dir():
        return {}
    return {
        path.name.lower(): path
        for path in sorted(root.iterdir())
        if path.is_dir() and not path.name.startswith(".")
    }


def _visible_files(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in folder.iterdir():
            if not path.name.startswith(".") and path.is_file():
                yield path


def _has_maps(folder: Path) -> bool:
    """Whether a folder, or one below it, holds a file that may be a label map."""
    files = islice(files_within(folder), _SEEN)
    return any(file.name.lower().endswith(LABEL_EXTENSIONS) for file in files)


def _named(folders: Mapping[str, Path], names: Sequence[str]) -> Iterator[Path]:
    return (folders[name] for name in names if name in folders)


def _split_folder(folder: Path, split: Split) -> Path | None:
    return next(_named(_folders(folder), SPLIT_NAMES[split]), None)


def _by_kind(root: Path, split: Split) -> Iterator[MapPlaces]:
    """images/train and labels/train."""
    folders = _folders(root)
    for images in _named(folders, IMAGES):
        for labels in _named(folders, LABELS):
            one, other = _split_folder(images, split), _split_folder(labels, split)
            if one is not None and other is not None and _has_maps(other):
                yield MapPlaces(f"{images.name}/SPLIT and {labels.name}/SPLIT", one, other)


def _by_split(root: Path, split: Split) -> Iterator[MapPlaces]:
    """train/images and train/labels."""
    folder = _split_folder(root, split)
    for images, labels in _shared(folder) if folder is not None else ():
        yield MapPlaces(f"SPLIT/{images.name} and SPLIT/{labels.name}", images, labels)


def _side_by_side(root: Path, split: Split) -> Iterator[MapPlaces]:
    """train and train_labels."""
    folders = _folders(root)
    for name in SPLIT_NAMES[split]:
        found = [path for path in _named(folders, [f"{name}{end}" for end in _BESIDE]) if _has_maps(path)]
        for images, labels in product(_named(folders, (name, f"{name}_images")), found):
            yield MapPlaces("SPLIT and SPLIT_labels", images, labels)


def _together(root: Path, split: Split) -> Iterator[MapPlaces]:
    """train alone, with images and label maps in it."""
    folder = _split_folder(root, split)
    if folder is not None and has_suffixed(folder):
        yield MapPlaces("images and label maps in one folder for each split", folder, folder)


def _shared(root: Path) -> Iterator[tuple[Path, Path]]:
    """images and labels."""
    folders = _folders(root)
    for images in _named(folders, IMAGES):
        for labels in _named(folders, LABELS):
            if _has_maps(labels):
                yield images, labels


def _of_shared(root: Path, split: Split, images: Path, labels: Path) -> MapPlaces:
    """Say how the splits of folders that both share are told apart: by lists, or not."""
    lists = {each: _list(root, names) for each, names in SPLIT_NAMES.items()}
    form = f"{images.name} and {labels.name} for both splits"
    if (listed := lists[split]) is not None:
        return MapPlaces(form, images, labels, listed)
    other = next(filter(None, lists.values()), None)
    test = _list(root, ["test"])
    return MapPlaces(form, images, labels, other_list=other, test_list=test, is_divided=other is None)


def _list(root: Path, names: Sequence[str]) -> Path | None:
    paths = in_any_case(root, [form.format(name) for form in _LISTS for name in names])
    return next((path for path in paths if path.is_file()), None)


def _expected(root: Path, split: Split, train: Iterator[MapPlaces]) -> Iterator[MapPlaces]:
    """Give the folders that a missing split would have, beside those of train."""
    for found in train:
        images, labels = (_renamed(path, root, split) for path in (found.images, found.labels))
        yield MapPlaces(found.form, images, labels)


def _renamed(path: Path, root: Path, split: Split) -> Path:
    """Put the name of a split where a path has that of train."""
    parts = list(path.relative_to(root).parts)
    for i, part in enumerate(parts):
        longest_first = sorted(SPLIT_NAMES["train"], key=len, reverse=True)
        known = next((name for name in longest_first if part.lower().startswith(name)), None)
        if known is not None:
            parts[i] = split + part[len(known) :]
    return root.joinpath(*parts)
