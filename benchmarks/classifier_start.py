"""How a new classifier on pretrained features should start: timm's way, small, or at zero.

timm starts the classifier of a backbone as the backbone's authors did, for their 1000 classes: that of
EfficientNets the wider, the fewer the classes (1/sqrt(classes)). Here a linear classifier alone learns on the
features of the frozen backbone, whose batch norms have the statistics of these images, as many steps as a
short fine-tuning has:

    python benchmarks/classifier_start.py --root imagenette128 --json benchmarks/results/classifier_start.json
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from statistics import mean
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from mscsa.backbones.layers import init_small
from mscsa.backbones.timm_pyramid import build_backbone
from mscsa.compare.results import show_interval
from mscsa.compare.statistics import paired_statistics
from mscsa.data import ImageFolder, build_eval_loader
from mscsa.data.transforms.classification import build_classification_transforms
from mscsa.recipes.spec import ClassificationAugment, ClassificationData
from mscsa.report import Table, show, write_json
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions

BACKBONE = "tf_efficientnet_lite0"
SIZE = 96
STEPS, WARMUP, BATCH, RATE = 544, 68, 64, 5e-4
SEEDS = range(6)


def _zero(classifier: nn.Linear) -> None:
    nn.init.zeros_(classifier.weight)
    nn.init.zeros_(classifier.bias)


STARTS: dict[str, Callable[[nn.Linear], None]] = {
    "timm's": lambda classifier: None,
    "torch's": lambda classifier: classifier.reset_parameters(),
    "N(0, 0.02)": init_small,
    "zero": _zero,
}


@dataclass(frozen=True)
class Features:
    """What the frozen backbone makes of both splits."""

    train: tuple[Tensor, Tensor]
    val: tuple[Tensor, Tensor]


def read_features(root: str) -> Features:
    """Read all images once; pooled features (N, C) and labels (N,)."""
    model = build_backbone(BACKBONE, pretrained=True)
    data = ClassificationData(kind="folder", root=root, image_size=SIZE, eval_batch_size=BATCH, workers=0)
    cfg = {**model.pretrained_cfg, "crop_pct": 1.0}
    _, transform = build_classification_transforms(data, ClassificationAugment(), cfg)
    splits = []
    for split, forms in (("train", (True, False)), ("val", (False,))):
        loader = build_eval_loader(ImageFolder(root, split, transform, seed=0), data)
        for is_training in forms:
            model.train(is_training)
            found = [_features_of(model, images, labels) for images, labels, _ in loader]
        splits.append((torch.cat([each for each, _ in found]), torch.cat([labels for _, labels in found])))
        print(f"{split}: {len(splits[-1][1])} images", flush=True)
    return Features(*splits)


def _features_of(model: Any, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return model.forward_head(model.forward_features(images), pre_logits=True), labels


def fit(features: Features, start: str, seed: int) -> tuple[float, float]:
    """Fit a classifier: the mean loss of the first 50 steps, and top-1 in %."""
    (train, labels), (val, truth) = features.train, features.val
    torch.manual_seed(seed)
    classifier = build_backbone(BACKBONE, num_classes=int(labels.max()) + 1).get_classifier()
    STARTS[start](classifier)
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=RATE, weight_decay=0.05)
    warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / WARMUP, total_iters=WARMUP)
    fall = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS - WARMUP)
    schedule = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, fall], [WARMUP])
    batches = torch.Generator().manual_seed(seed)  # the same for all starts
    losses = []
    for _ in range(STEPS):
        chosen = torch.randint(len(train), (BATCH,), generator=batches)
        loss = functional.cross_entropy(classifier(train[chosen]), labels[chosen], label_smoothing=0.1)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    with torch.inference_mode():
        right = (classifier(val).argmax(dim=1) == truth).float()
    return mean(losses[:50]), 100 * right.mean().item()


def main() -> None:
    """Fit all starts, and show what they come to."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--root", required=True, help="folder with train and val, in class folders")
    parser.add_argument("--json", help="write the scores there")
    options = parser.parse_args()
    torch.set_num_threads(1)
    features = read_features(options.root)
    results = {start: [fit(features, start, seed) for seed in SEEDS] for start in STARTS}
    first = [score for _, score in results["timm's"]]
    rows = []
    for start, runs in results.items():
        scores = [score for _, score in runs]
        against = paired_statistics(tuple(a - b for a, b in zip(scores, first, strict=True)))
        difference = (
            "" if against.interval is None else f"{against.mean:+.2f} ({show_interval(against.interval)})"
        )
        rows.append((start, f"{mean(loss for loss, _ in runs):.2f}", f"{mean(scores):.2f}", difference))
    machine = describe_machine(StepOptions())
    show(
        Table(
            title=f"A linear classifier on features of {BACKBONE}, {SIZE} px, {len(SEEDS)} seeds",
            columns=("start", "loss of the first 50 steps", "top-1 %", "minus timm's"),
            rows=rows,
            notes=(machine_line(machine),),
        )
    )
    if options.json:
        scores = {
            start: {"first_loss": [loss for loss, _ in runs], "top1": [score for _, score in runs]}
            for start, runs in results.items()
        }
        setting = {"backbone": BACKBONE, "size": SIZE, "steps": STEPS, "batch": BATCH, "rate": RATE}
        write_json(options.json, {"machine": machine, "setting": setting, "starts": scores})


if __name__ == "__main__":
    main()
