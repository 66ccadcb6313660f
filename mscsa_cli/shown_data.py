"""What `mscsa show-data` shows: a sheet of pictures, and tables of classes and sizes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torchvision.models.detection.anchor_utils import AnchorGenerator

from mscsa.assembly import build_model, read_info
from mscsa.data.check_dataset import layout_of
from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.contract import SPLITS, TaskDataset
from mscsa.data.counts import count_classes, fit_anchors
from mscsa.data.datasets import build_datasets
from mscsa.errors import UserError
from mscsa.pictures.contact_sheet import check_sheet, write_sheet
from mscsa.pictures.samples import sample_rows, unchanged
from mscsa.pictures.worst import heading_of, worst_rows
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import PARTS, AugmentSpec, DataSpec, DetectionData, ModelSpec
from mscsa.report import Table
from mscsa.run_files import BEST

_INPUT = {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD}
# Pictures are shown without it: whatever is subtracted is added again.

_RECIPES = {
    "folder": "small/resnet18",
    "masks": "small_semantic_fpn/resnet18",
    "ade20k": "ade20k/pvt_v2_b0",
    "coco": "small_retinanet/resnet18",
}
"""Whose sizes and augmentation are shown where no recipe is named, by the kind of the data."""


def show_worst(run: str, out: Path, count: int, device: str, root: str | None) -> list[str]:
    """Write the sheet of the images that a run is worst at, and say what is on each row."""
    check_sheet(out)
    rows = worst_rows(run, count, device, root)
    info = read_info(run)
    is_map = info.model.task == "segmentation"
    write_sheet(out, rows, heading_of(rows, run), info.class_names if is_map else ())
    return [f"{truth.title} | {said.title}" for truth, said in rows]


def show_samples(
    place: str, recipe: str | None, out: Path, count: int, seed: int, root: str | None
) -> list[Table]:
    """Write the sheet of a data set before and after augmentation, and lay out its classes and sizes."""
    check_sheet(out)
    model, data, augment = _described(place, recipe, root)
    with_masks = model.task == "instance_segmentation"
    train, val = build_datasets(data, augment, _INPUT, seed, with_masks=with_masks)
    rows = sample_rows(train, _INPUT, count, seed)
    heading = f"{place}: as it is, and as {recipe or 'training'} sees it"
    write_sheet(out, rows, heading, train.class_names if model.task == "segmentation" else ())
    tables = [_counts_table(train, val)]
    if isinstance(train, CocoDetection) and isinstance(data, DetectionData):
        tables += _anchor_tables(train, data, model)
    return tables


def _described(place: str, recipe: str | None, root: str | None) -> tuple[ModelSpec, DataSpec, AugmentSpec]:
    """Give model, data and augmentation: of a run, or of a recipe on a folder."""
    if (Path(place) / BEST).is_file() or place.endswith(".safetensors"):
        info = read_info(place)
        if recipe is not None:
            raise UserError(f"{place} has its own recipe: leave --recipe out, or give the folder of its data")
        saved = info.provenance.get("recipe", {}).get("augment", {})
        pairs: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in saved.items()}
        data = replace(info.data, max_bad=0, **info.overrides(root=root, size=None))
        return info.model, data, PARTS[info.model.task][1](**pairs)
    if root is not None:
        raise UserError(f"--root {root} is of the data of a run, {place} is a folder of data: leave it out")
    kind, _ = layout_of(Path(place))
    chosen = get_recipe(recipe or _RECIPES[kind])
    described: Any = replace(chosen.data, kind=kind, root=place, num_classes=None)
    return chosen.model, described, chosen.augment


def _counts_table(train: TaskDataset, val: TaskDataset) -> Table:
    counts, read = zip(*(count_classes(unchanged(each)) for each in (train, val)), strict=True)
    rows = [
        (one.name, f"{one.images:,}", f"{one.things:,}", f"{other.images:,}", f"{other.things:,}")
        for one, other in zip(*counts, strict=True)
    ]
    notes = tuple(
        f"{split}: {number} of {len(each)} images were read"
        for split, number, each in zip(SPLITS, read, (train, val), strict=True)
        if number < len(each)
    )
    what = "objects, pixels or images"
    columns = ("class", "train: images with it", what, "val: images with it", what)
    return Table(title="Classes", columns=columns, rows=rows, notes=notes)


def _anchor_tables(train: CocoDetection, data: DetectionData, model: ModelSpec) -> list[Table]:
    anchors = anchor_sides(model, len(train.class_names))
    if anchors is None:
        return []
    fits = fit_anchors(train, data, anchors)
    rows = [
        (each.name, *(f"{side:.0f}" for side in each.sides), f"{100 * each.covered:.0f}") for each in fits
    ]
    sides = np.sqrt(anchors.prod(axis=1))
    note = (
        f"anchors of {model.head} have sides of {sides.min():.0f} to {sides.max():.0f} px; move them with "
        "model.head_kwargs.anchor_scale, or the objects with data.short_side"
    )
    columns = ("class", "smallest px", "median px", "largest px", "covered by an anchor %")
    title = f"Objects at the size of training ({data.short_side} px), square root of the area"
    return [Table(title=title, columns=columns, rows=rows, notes=(note,))]


def anchor_sides(model: ModelSpec, num_classes: int) -> NDArray[np.float64] | None:
    """Give width and height in pixels of a detector's anchors, (A, 2); None if it has none."""
    built = build_model(replace(model, pretrained=False, checkpoint=None), num_classes)
    found = next((each for each in built.modules() if isinstance(each, AnchorGenerator)), None)
    if found is None:
        return None
    boxes = [
        found.generate_anchors(sizes, ratios).numpy()
        for sizes, ratios in zip(found.sizes, found.aspect_ratios, strict=True)
    ]
    corners = np.concatenate(boxes).astype(np.float64)
    return corners[:, 2:] - corners[:, :2]
