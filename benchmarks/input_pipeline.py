"""How many images a core reads and augments for training, beside how many a core trains on.

Each set is read by the loader of its recipe, in this process, and trained on by the recipe's model with and
without MSCSA, all in CPU time of one thread. Photographs in class folders are first enlarged to ImageNet's
usual size and saved as JPEG, and are read by timm's own folder, too. From a folder with the sets in it:

    python benchmarks/input_pipeline.py --photos imagenette --maps camvid11 --objects nuclei \
      --json input_pipeline.json
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import timm.data
import torch
from PIL import Image
from torch.utils.data import DataLoader

from mscsa.cost.model_pair import ModelPair, build_pair
from mscsa.data.datasets import build_dataset
from mscsa.data.loading import build_train_loader
from mscsa.data.sampler import ResumableBatchSampler
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import ClassificationAugment, ClassificationData, Recipe
from mscsa.report import Table, show, write_json
from mscsa.speed.interleaved import time_interleaved
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions, build_step

PHOTO_SIZE = (500, 375)
"""Width and height of most of ImageNet's files, in pixels."""
NUM_PHOTOS = 200
RECIPES = {
    "photos": "finetune/mscsa_resnet50",
    "maps": "finetune_segmentation/mscsa_resnet50",
    "objects": "finetune_instances/mscsa_resnet50",
}
"""Option that names a set -> recipe that reads it."""
TRAIN_SIZES = {"photos": (8, (224, 224)), "maps": (2, (512, 512)), "objects": (1, (416, 640))}
"""Images of a timed training step, and their (H, W)."""
BATCH_SIZE = 8
"""Images of a batch that is read."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Images of one set per second of one core."""

    recipe: str
    images: str
    """Kind of set: photographs, label maps or objects."""
    read_per_s: float
    """By the training loader: read, decoded, augmented, put into batches."""
    read_per_s_timm: float | None
    """By timm's own folder and transform, where timm has one: photographs for classifiers."""
    trained_per_s: float
    """Training steps of the model with MSCSA."""
    trained_per_s_without: float
    train_size: tuple[int, int]
    """(H, W) of the training steps, in pixels."""


def read_rate(recipe: Recipe, cfg: dict[str, Any], seconds: float) -> float:
    """Give images per second that the recipe's training loader reads."""
    with_masks = recipe.model.head == "mask_rcnn"
    dataset = build_dataset("train", recipe.data, recipe.augment, cfg, 0, with_masks=with_masks)
    sampler = ResumableBatchSampler(len(dataset), BATCH_SIZE, seed=0)
    loader = build_train_loader(dataset, sampler, workers=0)
    return rate(itertools.chain.from_iterable(itertools.repeat(loader)), seconds)


def timm_read_rate(recipe: Recipe, cfg: dict[str, Any], seconds: float) -> float:
    """The same of timm's folder with the same transform, in batches of torch's `DataLoader`."""
    assert isinstance(recipe.data, ClassificationData)
    assert isinstance(recipe.augment, ClassificationAugment)
    transform, _ = build_classification_transforms(recipe.data, recipe.augment, cfg)
    dataset = timm.data.ImageDataset(f"{recipe.data.root}/train", transform=transform)
    loader = DataLoader(dataset, BATCH_SIZE, shuffle=True, drop_last=True)
    return rate(itertools.chain.from_iterable(itertools.repeat(loader)), seconds)


def rate(batches: Iterable[Any], seconds: float) -> float:
    """Give images per second of this process's CPU time, over whole batches; the first one is not counted."""
    batches = iter(batches)
    next(batches)
    start, count = time.process_time(), 0
    while time.process_time() - start < seconds:
        next(batches)
        count += BATCH_SIZE
    return count / (time.process_time() - start)


def train_rates(kind: str, pair: ModelPair, rounds: int) -> list[float]:
    """Give images per second of training steps, without and with MSCSA."""
    batch_size, size = TRAIN_SIZES[kind]
    options = StepOptions(channels_last=True, folded=True)
    steps = [build_step(arm, "training", batch_size, size, options) for arm in (pair.baseline, pair.model)]
    times = time_interleaved(steps, rounds, lambda: None, time.process_time)
    return [batch_size / median(itertools.chain.from_iterable(of_rounds)) for of_rounds in times]


def enlarged(folder: Path, to: Path) -> Path:
    """Save photographs of each class as JPEG files of `PHOTO_SIZE`, for training and validation."""
    for split in ("train", "val"):
        classes = sorted(each for each in (folder / split).iterdir() if each.is_dir())
        paths = [path for each in classes for path in sorted(each.iterdir())[: NUM_PHOTOS // len(classes)]]
        for path in paths:
            target = to / path.relative_to(folder).with_suffix(".jpg")
            target.parent.mkdir(parents=True, exist_ok=True)
            with Image.open(path) as image:
                larger = image.convert("RGB").resize(PHOTO_SIZE, Image.Resampling.BICUBIC)
            larger.save(target, quality=90)
    return to


def measure(kind: str, folder: Path, *, seconds: float, rounds: int) -> Measured:
    """Measure one kind of set.

    Args:
        kind: One of `RECIPES`.
        folder: The set.
        seconds: CPU time for which images are read.
        rounds: Rounds in which training steps are timed.
    """
    recipe = get_recipe(RECIPES[kind])
    recipe = replace(recipe, data=replace(recipe.data, root=str(folder), workers=0))
    pair = build_pair("resnet50", head=recipe.model.head)
    cfg = pair.model.pretrained_cfg
    without, with_mscsa = train_rates(kind, pair, rounds)
    return Measured(
        recipe=recipe.name,
        images=kind,
        read_per_s=read_rate(recipe, cfg, seconds),
        read_per_s_timm=timm_read_rate(recipe, cfg, seconds) if kind == "photos" else None,
        trained_per_s=with_mscsa,
        trained_per_s_without=without,
        train_size=TRAIN_SIZES[kind][1],
    )


def main() -> None:
    """Measure the sets that are given, show them, and write them as JSON."""
    parser = argparse.ArgumentParser(
        description="How many images a core reads for training, and trains on, in a second."
    )
    parser.add_argument("--photos", type=Path, help="folder of class folders, in train and val")
    parser.add_argument("--maps", type=Path, help="folder of images and label maps")
    parser.add_argument("--objects", type=Path, help="folder of images and COCO's annotations")
    parser.add_argument("--seconds", type=float, default=20, help="CPU time for which each set is read")
    parser.add_argument("--rounds", type=int, default=5, help="rounds in which training steps are timed")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = {**describe_machine(StepOptions(channels_last=True)), "clock": "CPU time of one thread"}
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for kind in RECIPES:
            folder = getattr(arguments, kind)
            if folder is None:
                continue
            folder = enlarged(folder, Path(temporary) / kind) if kind == "photos" else folder
            results.append(measure(kind, folder, seconds=arguments.seconds, rounds=arguments.rounds))
    show(
        Table(
            title="Images per second of one core",
            columns=("recipe", "read", "by timm", "trained on", "without MSCSA", "read / trained on"),
            rows=[
                (
                    each.recipe,
                    f"{each.read_per_s:.0f}",
                    "-" if each.read_per_s_timm is None else f"{each.read_per_s_timm:.0f}",
                    f"{each.trained_per_s:.2f}",
                    f"{each.trained_per_s_without:.2f}",
                    f"{each.read_per_s / each.trained_per_s:.0f}",
                )
                for each in results
            ],
            notes=(machine_line(machine),),
        )
    )
    if arguments.json:
        write_json(arguments.json, {"machine": machine, "results": [asdict(each) for each in results]})


if __name__ == "__main__":
    main()
