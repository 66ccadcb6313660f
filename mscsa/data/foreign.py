"""What a folder is that a task cannot read: for another task, or of no layout that is known."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, islice
from pathlib import Path
from typing import Literal

from mscsa.data.coco.splits import has_coco
from mscsa.data.coco.voc import is_voc
from mscsa.data.coco.yolo import is_yolo
from mscsa.data.division import SPLIT_NAMES
from mscsa.data.label_maps.folders import LABEL_EXTENSIONS, LABELS, find_places
from mscsa.data.label_maps.tables import CLASSES_FILE
from mscsa.data.problems import some_of
from mscsa.data.texts import composed
from mscsa.data.walking import files_within
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS, is_image

Kind = Literal["classification", "segmentation", "detection"]

_READERS: dict[Kind, str] = {
    "classification": "class folders, which classifiers read (small/..., finetune/...)",
    "segmentation": "images with label maps, which segmenters read (small_semantic_fpn/...)",
    "detection": "objects, which detectors read (small_retinanet/..., small_mask_rcnn/...)",
}
_NEEDED: dict[Kind, str] = {
    "classification": "train/CLASS/NAME.jpg and val/CLASS/NAME.jpg, CLASS/NAME.jpg alone, or labels.csv with "
    "the columns filename and label",
    "segmentation": "images/train, images/val, labels/train and labels/val, or images and labels alone, with "
    "files of the same names, and classes.txt",
    "detection": "annotations/instances_train.json and instances_val.json with images in train/ and val/, "
    "data.yaml with images/ and labels/ (YOLO), or JPEGImages/ and Annotations/ (Pascal VOC)",
}
_ARCHIVES = (".zip", ".7z", ".rar", ".tgz", ".gz", ".bz2", ".xz", ".zst")
# What has to be unpacked; .tar is not among them, since shards are read as they are.
_NO_LABEL_MAPS = {
    ".jpg": "JPEG, which changes the values of label maps",
    ".jpeg": "JPEG, which changes the values of label maps",
    ".npy": "NumPy arrays, which are not read",
    ".mat": "files of MATLAB, which are not read",
}
_MAPS = tuple(ending for ending in LABEL_EXTENSIONS if ending != ".gif")
# By a GIF alone nothing is told: classes may be of GIF and of JPEG.
_SPLITS = {name for names in SPLIT_NAMES.values() for name in (*names, "test")}
_SEEN = 5000
# Files of a folder that are looked at to say what it holds.


def refuse_foreign(root: Path, task: Kind) -> None:
    """Say so if a folder is in a layout that is read, but for another task.

    Raises:
        UserError: If it is.
    """
    found = _other_task(root, task)
    if found is not None:
        kind, layout = found
        raise UserError(
            f"{root} ({layout}) holds {_READERS[kind]}, not what is needed for {task}: take such a recipe, "
            f"or give {_NEEDED[task]}"
        )


def unknown_layout(root: Path, task: Kind | None = None) -> UserError:
    """Say what a folder holds that is in no layout for a task, or for any, and what to move."""
    if not root.is_dir():
        here = "" if root.is_absolute() else f" in {Path.cwd()}"
        return UserError(
            f"{root}: no such folder{here}; give the folder of the data set as data.root, or --root of eval"
        )
    counts = _contents(root)
    packed = sorted(path.name for path in islice(root.iterdir(), _SEEN) if path.suffix.lower() in _ARCHIVES)
    if packed and not any(kind in EXTENSIONS for kinds in counts.values() for kind in kinds):
        return UserError(
            f"{root} holds {some_of(packed)} and no images: unpack it, and give the folder in it"
        )
    seen = some_of([f"{place} ({_counted(kinds)})" for place, kinds in counts.items()]) or "nothing"
    tasks = _READERS if task is None else (task,)
    within = next(
        (path.name for path in islice(_folders(root), _SEEN) if not is_split(path) and _is_known(path)), None
    )
    if within is not None:
        return UserError(f"{root} holds a data set in {within}/: give {root / within} as data.root")
    moves = [move for each in tasks if (move := _what_to_move(root, each, counts)) is not None]
    needed = "; or ".join(f"for {each} {_NEEDED[each]}" for each in tasks)
    what = "no layout that is known" if task is None else f"no layout for {task} that is known"
    return UserError(f"{root}: {what}; seen: {seen}. {moves[0] if moves else f'Give {needed}'}")


def _is_known(root: Path) -> bool:
    """Whether a folder is in a layout that is read, for any task."""
    if has_coco(root) or is_yolo(root) or is_voc(root) or class_folders(root) is not None:
        return True
    return find_places(root, "train") is not None


def _other_task(root: Path, task: Kind) -> tuple[Kind, str] | None:
    """Say for which other task a folder is, and in which layout."""
    if task != "detection":
        for is_there, layout in ((has_coco, "COCO's format"), (is_yolo, "YOLO's layout")):
            if is_there(root):
                return "detection", layout
        if is_voc(root):
            return "detection", "Pascal VOC's layout"
    if task != "segmentation" and (places := find_places(root, "train")) is not None:
        return "segmentation", places.form
    if task != "classification" and (form := class_folders(root)) is not None:
        return "classification", form
    return None


def is_split(folder: Path) -> bool:
    """Whether a folder is called as a split is, which is half a data set and none by itself."""
    return folder.name.casefold() in _SPLITS


def class_folders(root: Path) -> str | None:
    """Say in which form a folder holds class folders; None if it holds none."""
    for folder in (path for path in _folders(root) if path.name.casefold() in SPLIT_NAMES["train"]):
        if sum(any(is_image(file.name) for file in files_within(path)) for path in _folders(folder)) > 1:
            return "SPLIT/CLASS"
    folders = [path for path in _folders(root) if path.name not in _SPLITS and any(_images(path))]
    if len(folders) == 2 and _are_photographs_and_maps(*folders):
        return None
    if len(folders) < 2 or all(map(is_split, folders)):  # among others a class may be called Train
        return None
    return "CLASS"


def _folders(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _images(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if is_image(path.name))


def _contents(root: Path) -> dict[str, Counter[str]]:
    """Count the files of each folder by their endings; the root is `.`."""
    counts: dict[str, Counter[str]] = {}
    walked = ((place, name) for place, _, names in os.walk(root) for name in sorted(names))
    for place, name in islice(walked, _SEEN):
        relative = Path(place).relative_to(root).as_posix()
        if not any(part.startswith(".") and part != "." for part in (*Path(relative).parts, name)):
            # A list of classes tells nothing of the layout: it is none of YOLO's texts.
            kind = name if name == CLASSES_FILE else Path(name).suffix.lower() or name
            counts.setdefault(relative, Counter())[kind] += 1
    return dict(sorted(counts.items(), key=lambda each: (each[0].count("/"), each[0])))


def _counted(kinds: Counter[str]) -> str:
    return some_of([f"{count} {kind}" for kind, count in kinds.most_common()], 3)


def _what_to_move(root: Path, task: Kind, counts: dict[str, Counter[str]]) -> str | None:
    """Name the nearest layout of a task, and what is missing to it; None if none is near."""
    unfit = [
        (place, reason)
        for place, kinds in counts.items()
        for ending, reason in _NO_LABEL_MAPS.items()
        if set(place.lower().split("/")) & set(LABELS) and ending in kinds
    ]
    if task == "segmentation" and unfit:
        place, reason = unfit[0]
        return f"{place} holds {reason}: write label maps as PNG, TIFF, BMP or GIF of one 8-bit channel"
    if task == "segmentation" and (pair := _matching_folders(root, counts)) is not None:
        images, maps = pair
        return (
            f"{images} and {maps} have files of the same names, which is nearest to images and labels: "
            f"rename {images} to images and {maps} to labels, below each split or once for both, and add "
            "classes.txt"
        )
    if task == "detection":
        endings = {kind: place for place, kinds in counts.items() for kind in kinds}
        if ".json" in endings:
            return (
                f"The JSON in {endings['.json']} is nearest to COCO's format: give it and its images by "
                "data.train_annotations and data.train_images, and data.val_annotations and data.val_images"
            )
        if ".xml" in endings:
            return (
                f"The XML in {endings['.xml']} is nearest to Pascal VOC's layout: move it to Annotations/, "
                "the images to JPEGImages/, and list train and val in ImageSets/Main/train.txt and val.txt"
            )
        if ".txt" in endings and any(kind in EXTENSIONS for kind in endings):
            return (
                f"The texts in {endings['.txt']} are nearest to YOLO's layout: move them to labels/train and "
                "labels/val, the images to images/train and images/val, and write data.yaml with names, "
                "train and val"
            )
    if task == "classification" and any(kind in EXTENSIONS for kind in counts.get(".", ())):
        return (
            "Images lie in it without a class: move those of each class into a folder of its name, or add "
            "labels.csv with the columns filename and label"
        )
    return None


def _are_photographs_and_maps(one: Path, other: Path) -> bool:
    """Whether two folders hold files of the same names, and one of them alone what can be label maps."""
    files = [list(_images(folder)) for folder in (one, other)]
    is_map = [all(path.suffix.lower() in _MAPS for path in each) for each in files]
    stems = [{composed(path.stem) for path in each} for each in files]
    return is_map[0] != is_map[1] and bool(stems[0] & stems[1])


def _matching_folders(root: Path, counts: dict[str, Counter[str]]) -> tuple[str, str] | None:
    """Find a folder of images and one of possible label maps whose files have the same names."""
    folders = {place: kinds for place, kinds in counts.items() if any(kind in EXTENSIONS for kind in kinds)}
    for one, other in combinations(folders, 2):
        is_map = [all(kind in LABEL_EXTENSIONS for kind in folders[each]) for each in (one, other)]
        places = root / one, root / other
        is_both_splits = places[0].parent == places[1].parent and all(map(is_split, places))
        if is_both_splits or not any(is_map):
            continue
        stems = [{composed(path.stem) for path in _images(place)} for place in places]
        if stems[0] & stems[1]:
            return (other, one) if is_map[0] and not is_map[1] else (one, other)
    return None
