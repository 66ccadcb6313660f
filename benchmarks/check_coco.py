"""How long `mscsa check-data` takes for annotations as many as COCO's train2017, and how much memory.

It writes 118,287 images with 860,001 annotations (polygons as long as COCO's, and crowds of run lengths) and
5,000 images of validation into a temporary folder, with empty files for images, spoils three annotations, and
runs the command in a process of its own. The same three must be all that it finds. Run from the repository's
root; it takes 2 GB of disk and some minutes:

    python benchmarks/check_coco.py --json benchmarks/results/check_coco.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mscsa.report import Table, show, write_json
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions

NUM_IMAGES = {"train2017": 118_287, "val2017": 5_000}
PER_IMAGE = 860_001 / 118_287
CATEGORY_IDS = [i for i in range(1, 91) if i not in {12, 26, 29, 30, 45, 66, 68, 69, 71, 83}]
CROWD_SHARE = 0.012
SECOND_PART_SHARE = 0.12
"""Annotations of two polygons, as those that something else divides."""
MAX_SECONDS, MAX_GIBIBYTES = 60.0, 4e9 / 2**30

_POINTS = (19, 0.7)  # median and spread (of the logarithm) of a polygon's points


@dataclass(frozen=True, kw_only=True)
class CheckCost:
    """What looking through the annotations took."""

    images: int
    annotations: int
    points_per_annotation: float
    megabytes: float
    """Size of the JSON files."""
    seconds: float
    """Of the whole command, with its imports."""
    cpu_seconds: float
    """Of which it had a processor: the rest others had, or it waited for the disk."""
    peak_gibibytes: float
    """Most resident memory of its process."""
    found: list[str]
    """All that it found."""


def write_split(root: Path, split: str, seed: int) -> tuple[int, int]:
    """Write a split with empty image files; return its number of annotations and of points."""
    rng = np.random.default_rng(seed)
    folder = root / split
    folder.mkdir(parents=True)
    names = [f"{i:012d}.jpg" for i in range(1, NUM_IMAGES[split] + 1)]
    for name in names:
        (folder / name).touch()
    sizes = np.where(rng.random((len(names), 1)) < 0.7, (640, 480), (480, 640))
    images = [
        {"license": 3, "file_name": name, "coco_url": f"http://images.cocodataset.org/{split}/{name}"}
        | {"height": int(height), "width": int(width), "date_captured": "2013-11-14 11:18:45", "id": i}
        for i, (name, (width, height)) in enumerate(zip(names, sizes.tolist(), strict=True), 1)
    ]
    categories = [{"supercategory": "thing", "id": i, "name": f"thing {i}"} for i in CATEGORY_IDS]
    path = root / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    num_annotations = num_points = 0
    with path.open("w") as file:
        file.write(f'{{"images": {json.dumps(images)}, "categories": {json.dumps(categories)}, ')
        file.write('"annotations": [')
        for annotation in _annotations(rng, sizes):
            file.write(("," if num_annotations else "") + json.dumps(annotation, separators=(",", ": ")))
            num_annotations += 1
            if isinstance(annotation["segmentation"], list):
                num_points += sum(map(len, annotation["segmentation"])) // 2
        file.write("]}")
    return num_annotations, num_points


def _annotations(rng: np.random.Generator, sizes: np.ndarray) -> Iterator[dict[str, Any]]:
    """Draw objects: star-shaped outlines, of a few to some hundreds of points like COCO's."""
    total = round(PER_IMAGE * len(sizes))
    image_ids = np.sort(rng.integers(1, len(sizes) + 1, total))
    spoilt = {total // 3: "category", total // 2: "polygon", total - 1: "box"} if len(sizes) > 10_000 else {}
    for number in range(total):
        width, height = sizes[image_ids[number] - 1].tolist()
        radius = float(np.clip(np.exp(rng.normal(3.5, 0.9)), 2, 200))
        x, y = rng.uniform(radius, width - radius), rng.uniform(radius, height - radius)
        is_crowd = rng.random() < CROWD_SHARE
        num_parts = 1 if is_crowd else 1 + (rng.random() < SECOND_PART_SHARE)
        parts = [_outline(rng, x, y, radius) for _ in range(num_parts)]
        points = np.concatenate(parts)
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        annotation: dict[str, Any] = {
            "segmentation": [part.ravel().tolist() for part in parts],
            "area": round(float((right - left) * (bottom - top)) * 0.6, 4),
            "iscrowd": int(is_crowd),
            "image_id": int(image_ids[number]),
            "bbox": [round(float(side), 2) for side in (left, top, right - left, bottom - top)],
            "category_id": int(rng.choice(CATEGORY_IDS)),
            "id": number + 1,
        }
        if is_crowd:
            corners = (int(left), int(top), int(right) + 1, int(bottom) + 1)
            annotation["segmentation"] = _runs(*corners, (width, height))
        yield _spoil(annotation, spoilt.get(number))


def _outline(rng: np.random.Generator, x: float, y: float, radius: float) -> np.ndarray:
    number = int(np.clip(np.exp(rng.normal(np.log(_POINTS[0]), _POINTS[1])), 3, 400))
    angles = np.sort(rng.uniform(0, 2 * np.pi, number))
    steps = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return ((x, y) + radius * rng.uniform(0.6, 1.0, (number, 1)) * steps).round(2)


def _runs(left: int, top: int, right: int, bottom: int, size: tuple[int, int]) -> dict[str, Any]:
    """Fill a box, column by column."""
    width, height = size
    tall, wide = bottom - top, right - left
    between = [count for _ in range(wide - 1) for count in (height - tall, tall)]
    after = height * (width - right) + height - bottom
    return {"counts": [left * height + top, tall, *between, after], "size": [height, width]}


def _spoil(annotation: dict[str, Any], what: str | None) -> dict[str, Any]:
    if what == "category":
        annotation["category_id"] = 12
    elif what == "polygon":
        annotation["segmentation"], annotation["iscrowd"] = [[1.0, 2.0, 3.0, 4.0]], 0
    elif what == "box":
        annotation["bbox"][2] = 0
    return annotation


def check(root: Path) -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code, and what it took and found."""
    found = root / "found.json"
    program = "import sys, mscsa_cli; sys.exit(mscsa_cli.main(sys.argv[1:]))"
    command = [sys.executable, "-c", program, "check-data", str(root), "--annotations-only"]
    start = time.monotonic()
    process = subprocess.Popen([*command, "--json", str(found)])
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - start
    code = process.returncode = os.waitstatus_to_exitcode(status)
    if code not in (0, 2):
        sys.exit("the command failed")
    lines = [f"{Path(each['path']).name}: {each['what']}" for each in json.loads(found.read_text())]
    cpu_seconds = usage.ru_utime + usage.ru_stime
    cost = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_gibibytes": usage.ru_maxrss / 2**20}
    return code, {**cost, "found": lines}


def main() -> None:
    """Write the data, check them, and show and write what it took."""
    parser = argparse.ArgumentParser(description="Time and memory of checking COCO's number of annotations.")
    parser.add_argument("--json", help="write the result to this file")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        counts = [write_split(root, split, seed) for seed, split in enumerate(NUM_IMAGES)]
        files = list((root / "annotations").iterdir())
        num_annotations, num_points = (sum(each) for each in zip(*counts, strict=True))
        megabytes = sum(file.stat().st_size for file in files) / 1e6
        print(f"{megabytes:.0f} MB written", flush=True)
        code, cost = check(root)
    result = CheckCost(
        images=sum(NUM_IMAGES.values()),
        annotations=num_annotations,
        points_per_annotation=num_points / num_annotations,
        megabytes=megabytes,
        **cost,
    )
    _show(result)
    if arguments.json:
        write_json(arguments.json, {**asdict(result), "machine": describe_machine(StepOptions())})
    if code != 2 or len(result.found) != 4:  # the note of the gaps in the category ids is the fourth
        sys.exit("it did not find what was spoilt, or more than that")
    if result.seconds > MAX_SECONDS or result.peak_gibibytes > MAX_GIBIBYTES:
        sys.exit(f"more than {MAX_SECONDS:.0f} s or {MAX_GIBIBYTES:.2f} GiB")


def _show(result: CheckCost) -> None:
    show(
        Table(
            title="mscsa check-data --annotations-only",
            columns=("images", "annotations", "points each", "JSON MB", "seconds", "CPU seconds", "peak GiB"),
            rows=[
                (
                    f"{result.images:,}",
                    f"{result.annotations:,}",
                    f"{result.points_per_annotation:.1f}",
                    f"{result.megabytes:.0f}",
                    f"{result.seconds:.1f}",
                    f"{result.cpu_seconds:.1f}",
                    f"{result.peak_gibibytes:.2f}",
                )
            ],
            num_text_columns=0,
            notes=(*result.found, machine_line(describe_machine(StepOptions()))),
        )
    )


if __name__ == "__main__":
    main()
