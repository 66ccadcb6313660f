"""Images with label maps in any layout that is read: which files, and what their values mean."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mscsa.data.contract import Split
from mscsa.data.division import of_split, tell_division
from mscsa.data.foreign import refuse_foreign, unknown_layout
from mscsa.data.label_maps.folders import MapPlaces, find_places
from mscsa.data.label_maps.known_tables import ade20k_table, cityscapes_table, voc_table
from mscsa.data.label_maps.pairing import Pairing, pair_files
from mscsa.data.label_maps.tables import CLASSES_FILE, LabelTable, find_table
from mscsa.data.places import by_named_folder
from mscsa.data.texts import composed, read_text
from mscsa.errors import UserError
from mscsa_runtime.images import is_image

logger = logging.getLogger(__name__)

LabelLayout = Literal["masks", "ade20k"]

_ADE20K_FOLDERS: dict[Split, str] = {"train": "training", "val": "validation"}


@dataclass(frozen=True)
class MapSplit:
    """One split of images with label maps."""

    layout: str
    """What its layout is called, for people."""
    places: MapPlaces
    pairs: tuple[tuple[Path, Path], ...]
    """Image and label map, in the order of their names."""
    alone: tuple[Path, ...]
    """Files that have no partner."""
    doubles: tuple[tuple[Path, Path], ...]
    """Files that share a name but for the ending: one that was taken, one that was not."""
    table: LabelTable
    """What the values or colours of the label maps mean."""

    def files(self) -> tuple[Path, ...]:
        """Give the files that say which images there are and what their labels mean."""
        found = (self.table.file, self.places.listed, self.places.other_list, self.places.test_list)
        return tuple(path for path in found if path is not None)


def find_maps(root: str | Path, split: Split, layout: LabelLayout = "masks") -> MapSplit:
    """Find images and label maps of a split, and the table of their classes.

    Args:
        root: Folder of the data set.
        split: `train` or `val`.
        layout: `ade20k`, or `masks` for all others: which one is seen from the folders.
    Raises:
        UserError: If a folder, a list of classes or all pairs are missing, or the layout is not known.
    """
    root = Path(root)
    if layout == "ade20k":
        folder = _ADE20K_FOLDERS[split]
        places = MapPlaces("ADE20K's layout", root / "images" / folder, root / "annotations" / folder)
        return _split(places, ade20k_table(root), _paired(places))
    found = find_places(root, split)
    if found is None:
        refuse_foreign(root, "segmentation")
        raise unknown_layout(root, "segmentation")
    paired = _paired(found)
    return _split(found, _table(root, found, paired.suffix), _chosen(root, split, found, paired))


def is_maps(root: Path) -> LabelLayout | None:
    """Say in which layout a folder holds images with label maps; None if it holds none."""
    found = find_places(root, "train")
    if found is None:
        return None
    is_ade20k = found.images == root / "images/training" and found.labels == root / "annotations/training"
    return "ade20k" if is_ade20k and find_table([root]) is None else "masks"


def _split(places: MapPlaces, table: LabelTable, paired: Pairing) -> MapSplit:
    return MapSplit(places.form, places, tuple(paired.pairs.values()), paired.alone, paired.doubles, table)


def _paired(places: MapPlaces) -> Pairing:
    for folder in (places.images, places.labels):
        if not folder.is_dir():
            raise UserError(
                f"{folder} is not there: give the folder that holds it as data.root; one folder of images "
                "and one of label maps without splits are divided"
            )
    found = pair_files(places)
    if not found.pairs:
        raise UserError(
            f"no image in {places.images} has a label map of its name in {places.labels}: give NAME.png, or "
            "NAME_mask.png, for NAME.jpg"
        )
    return found


def _chosen(root: Path, split: Split, places: MapPlaces, paired: Pairing) -> Pairing:
    """Keep the pairs of a split, where both splits share the folders."""
    if places.listed is None and places.other_list is None and not places.is_divided:
        return paired
    of_test, alone = _of_test(places, paired)
    if places.listed is not None:
        names = _listed(places.listed, places, paired)
    elif places.is_divided:
        tell_division(root)
        names = of_split(paired.pairs.keys() - of_test, split)
    else:
        assert places.other_list is not None
        rest = paired.pairs.keys() - _listed(places.other_list, places, paired)
        if rest and not rest - of_test:
            logger.info("%s: no list of %s, whose place %s takes", root, split, places.test_list)
        names = rest - of_test or rest
    pairs = {name: pair for name, pair in paired.pairs.items() if name in names}
    if not pairs:
        raise UserError(f"{root}: no image is left for {split}: give two images or more, and lists of both")
    # Pascal VOC has images without label maps: lists say which ones count.
    return Pairing(pairs, alone if places.is_divided else (), paired.doubles, paired.suffix)


def _of_test(places: MapPlaces, paired: Pairing) -> tuple[set[str], tuple[Path, ...]]:
    """Give the pairs that a list of test names, and the files without partner that it does not.

    Its images may have no label maps. A text most of whose lines name no image is no list, and one of all
    pairs divides nothing.
    """
    if places.test_list is None:
        return set(), paired.alone
    lines = [composed(line.strip()) for line in read_text(places.test_list).splitlines() if line.strip()]
    last = {_without_extension(line.replace("\\", "/").rpartition("/")[2]) for line in lines}
    named = {name for name in paired.pairs if name.rpartition("/")[2] in last}
    alone = tuple(path for path in paired.alone if composed(path.stem) not in last)
    if 2 * (len(named) + len(paired.alone) - len(alone)) < len(last) or len(named) == len(paired.pairs):
        return set(), paired.alone
    return named, alone


def _listed(path: Path, places: MapPlaces, paired: Pairing) -> set[str]:
    """Read which images a list names: on each line a name or path, with an ending or not."""
    place_of = {str(places.images / name): name for name in paired.pairs}
    by_last: dict[str, list[str]] = {}
    for place, name in place_of.items():
        by_last.setdefault(name.rpartition("/")[2], []).append(place)
    choose = by_named_folder(places.images, place_of)
    found = set()
    for line in read_text(path).splitlines():
        if not line.strip():
            continue
        given = composed(line.strip().replace("\\", "/"))
        named = [each for text in (given, given.split()[0]) for each in (text, _without_extension(text))]
        whole = [[name] for name in named if name in paired.pairs]
        meant = (choose(name, by_last.get(name.rpartition("/")[2], ())) for name in named)
        last = [[place_of[each] for each in places] for places in meant if places]
        names = next(iter(whole + last), [])
        if len(names) != 1:
            what = "several images" if names else "an image with a label map"
            raise UserError(
                f"{path} names {given}, which is {'' if names else 'not the name of '}{what} in "
                f"{places.images}: correct the line or add the files"
            )
        found.add(names[0])
    return found


def _without_extension(name: str) -> str:
    """Take the ending of an image off a name; a dot elsewhere is part of it."""
    return name[: -len(Path(name).suffix)] if is_image(name) else name


def _table(root: Path, places: MapPlaces, suffix: str) -> LabelTable:
    """Read the table of classes, or take the one that the layout has by itself."""
    folders = [root, places.labels, places.labels.parent, places.images.parent]
    if places.is_one_folder:
        folders.append(places.images)
    found = find_table(dict.fromkeys(folders))
    if found is not None:
        return found
    if places.labels.name.lower() == "gtfine" or places.labels.parent.name.lower() == "gtfine":
        return cityscapes_table(suffix)
    if places.labels.name.lower().startswith("segmentationclass"):
        return voc_table()
    raise UserError(
        f"{root / CLASSES_FILE} cannot be read: write the names of the classes into it, one per line, in the "
        "order of their indices; or class_dict.csv with name,r,g,b for colours, or name,value"
    )
