"""Small sets of objects, written by the rules of the tools that write YOLO's and Pascal VOC's layouts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

SIZES = {"train": ((80, 60), (50, 90), (64, 64)), "val": ((70, 40), (64, 48))}
"""W and H in pixels of the images of each split; the last of train has no object."""

CLASSES = ("bar", "disc")


def boxes_of(size: tuple[int, int]) -> list[tuple[int, tuple[int, int, int, int]]]:
    """Label and x, y, width, height in pixels of the objects of an image (W, H)."""
    width, height = size
    return [(0, (8, 5, 24, 10)), (1, (width - 25, height - 30, 20, 22))]


def write_image(path: Path, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(len(str(path))).integers(0, 60, (size[1], size[0], 3), dtype=np.uint8)
    for label, (x, y, width, height) in boxes_of(size):
        pixels[y : y + height, x : x + width] = (250, 40, 40) if label == 0 else (40, 40, 250)
    Image.fromarray(pixels).save(path)


def link_elsewhere(folder: Path, disk: Path, ending: str) -> None:
    """Move a folder's files of an ending to another place, and put a link to that into the folder."""
    disk.mkdir(parents=True)
    for path in list(folder.glob(f"*{ending}")):
        path.rename(disk / path.name)
    (folder / "linked").symlink_to(disk)


def yolo_lines(size: tuple[int, int], form: str) -> list[str]:
    """Lines of boxes, as Ultralytics writes them (`%g` of shares of the sides), or of polygons."""
    lines = []
    for label, (x, y, width, height) in boxes_of(size):
        values: Sequence[float] = (x + width / 2, y + height / 2, width, height)
        if form == "polygons":
            values = (x, y, x + width, y, x + width, y + height, x, y + height)
        shares = [value / size[i % 2] for i, value in enumerate(values)]
        lines.append(f"{label} " + " ".join(f"{share:.6f}" for share in shares))
    return lines


def write_yolo(root: Path, *, form: str = "boxes", folders: str = "images/{}") -> Path:
    """Write images, texts and data.yaml; `folders` is images/{} (Ultralytics) or {}/images (Roboflow)."""
    for split, sizes in SIZES.items():
        for i, size in enumerate(sizes):
            image = root / folders.format(split) / f"{split}{i}.png"
            write_image(image, size)
            labels = Path(str(image).replace("/images", "/labels")).with_suffix(".txt")
            labels.parent.mkdir(parents=True, exist_ok=True)
            if (split, i) != ("train", 2):
                labels.write_text("\n".join(yolo_lines(size, form)))
    places = "".join(f"{split}: {folders.format(split)}\n" for split in SIZES)
    (root / "data.yaml").write_text(f"{places}nc: 2\nnames: ['bar', 'disc']\n")
    return root


def voc_xml(name: str, size: tuple[int, int], *, has_objects: bool = True) -> ElementTree.Element:
    """Annotations as the VOC development kit writes them: pixels from 1, the last one included."""
    root = ElementTree.Element("annotation")
    ElementTree.SubElement(root, "folder").text = "VOC2012"
    ElementTree.SubElement(root, "filename").text = name
    sides = ElementTree.SubElement(root, "size")
    for side, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        ElementTree.SubElement(sides, side).text = str(value)
    for label, (x, y, width, height) in boxes_of(size) if has_objects else ():
        each = ElementTree.SubElement(root, "object")
        ElementTree.SubElement(each, "name").text = CLASSES[label]
        ElementTree.SubElement(each, "pose").text = "Unspecified"
        ElementTree.SubElement(each, "truncated").text = "0"
        ElementTree.SubElement(each, "difficult").text = "0"
        box = ElementTree.SubElement(each, "bndbox")
        corners = {"xmin": x + 1, "ymin": y + 1, "xmax": x + width, "ymax": y + height}
        for corner, value in corners.items():
            ElementTree.SubElement(box, corner).text = str(value)
        part = ElementTree.SubElement(each, "part")  # VOC's parts of persons have boxes of their own
        ElementTree.SubElement(part, "name").text = "end"
        ElementTree.SubElement(ElementTree.SubElement(part, "bndbox"), "xmin").text = "1"
    return root


def write_voc(root: Path, *, is_by_split: bool = False) -> Path:
    """Write images and XML in VOC's folders, or side by side in train/ and valid/ (Roboflow)."""
    for split, sizes in SIZES.items():
        names = []
        for i, size in enumerate(sizes):
            names.append(f"{split}{i}")
            folder = root / {"train": "train", "val": "valid"}[split]
            image = (folder if is_by_split else root / "JPEGImages") / f"{split}{i}.png"
            write_image(image, size)
            file = (folder if is_by_split else root / "Annotations") / f"{split}{i}.xml"
            file.parent.mkdir(exist_ok=True)
            tree = voc_xml(image.name, size, has_objects=(split, i) != ("train", 2))
            ElementTree.ElementTree(tree).write(file)
        if not is_by_split:
            (root / "ImageSets/Main").mkdir(parents=True, exist_ok=True)
            (root / f"ImageSets/Main/{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root
