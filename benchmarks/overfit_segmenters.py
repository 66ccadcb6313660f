"""Both segmentation heads, with and without MSCSA, learn 16 scenes by heart.

It is the proof that model, loss, data and score belong together: a segmenter that cannot reach mIoU 0.9
on images that it trains on is wired wrongly. Run from the repository's root:

    python benchmarks/overfit_segmenters.py --json benchmarks/results/overfit_segmenters.json
"""

from __future__ import annotations

import argparse
import time
from dataclasses import asdict, dataclass

import torch

from mscsa.data import build_dataset
from mscsa.evaluation import SegmentationScores, measure_segmentation
from mscsa.recipes.spec import SegmentationAugment, SegmentationData
from mscsa.segmentation import Segmenter, build_segmenter
from mscsa.tools.bench import describe_machine, machine_line
from mscsa.tools.report import Table, show, write_json
from mscsa.tools.steps import StepOptions
from mscsa.training.objectives import SegmentationObjective

VARIANTS = (
    ("semantic_fpn", "resnet10t"),
    ("semantic_fpn", "mscsa_resnet10t"),
    ("topformer_head", "topformer_tiny"),
    ("topformer_head", "mscsa_topformer_tiny"),
)
"""Head and backbone."""

NUM_SCENES = 16


@dataclass(frozen=True, kw_only=True)
class Overfit:
    """What one segmenter came to."""

    head: str
    backbone: str
    miou: float
    """On the scenes it was trained on, in %."""
    steps: int
    batch_size: int
    size: int
    """Side of the scenes in pixels."""
    seconds: float
    """Of training, on one thread."""


def overfit(
    head: str,
    backbone: str,
    *,
    num_scenes: int = NUM_SCENES,
    size: int = 96,
    steps: int = 300,
    batch_size: int = 8,
    lr: float = 2e-3,
) -> Overfit:
    """Train a segmenter on a few scenes and score it on the same.

    Args:
        head: Name of the segmenter.
        backbone: Name of the backbone, from random weights.
        num_scenes: Scenes of up to four digits.
        size: Their side in pixels.
        steps: Steps of AdamW, on one cycle of the learning rate.
        batch_size: Scenes per step.
        lr: Highest learning rate.
    """
    torch.manual_seed(0)
    model = _build(head, backbone)
    data = SegmentationData(
        kind="scenes", image_size=size, short_side=size, long_side=size, num_train=num_scenes, max_digits=4
    )
    plain = SegmentationAugment(scale=(1.0, 1.0), max_class_share=1.0, photometric=False, hflip=0.0)
    dataset = build_dataset("train", data, plain, model.pretrained_cfg, seed=0)
    images, labels, indices = dataset.collate([dataset[i] for i in range(num_scenes)])
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=lr, total_steps=steps)
    objective = SegmentationObjective()
    model.train()
    start = time.monotonic()
    for _ in range(steps):
        chosen = torch.randperm(num_scenes)[:batch_size]
        loss = objective(model, images[chosen], labels[chosen]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    seconds = time.monotonic() - start
    scores = measure_segmentation(
        model,
        [(list(images), list(labels), indices)],
        num_classes=len(dataset.class_names),
        device=torch.device("cpu"),
    )
    assert isinstance(scores, SegmentationScores)
    return Overfit(
        head=head,
        backbone=backbone,
        miou=scores.miou,
        steps=steps,
        batch_size=batch_size,
        size=size,
        seconds=seconds,
    )


def _build(head: str, backbone: str) -> Segmenter:
    options: dict[str, object] = {"dropout": 0.0}
    if head == "semantic_fpn":
        options |= {"fpn_channels": 64, "head_channels": 64}
    if backbone.startswith("mscsa_"):
        # Scenes are small: at the paper's stride of 32 they would be a few tokens.
        options["fields"] = {"pool_stride": 8}
    return build_segmenter(head, backbone, 11, **options)


def main() -> None:
    """Run all variants, show them, and write them as JSON."""
    parser = argparse.ArgumentParser(description="Segmenters learn 16 scenes by heart.")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--steps", type=int, default=300)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    results = []
    for head, backbone in VARIANTS:
        results.append(overfit(head, backbone, steps=arguments.steps))
        print(f"{head} on {backbone}: mIoU {results[-1].miou:.1f} % after {results[-1].seconds:.0f} s")
    machine = describe_machine(StepOptions())
    show(
        Table(
            title=f"mIoU on {NUM_SCENES} scenes that were trained on",
            columns=("head", "backbone", "mIoU %", "steps", "seconds"),
            rows=[(r.head, r.backbone, f"{r.miou:.1f}", str(r.steps), f"{r.seconds:.0f}") for r in results],
            num_text_columns=2,
            notes=(machine_line(machine),),
        )
    )
    if arguments.json:
        write_json(arguments.json, {"results": [asdict(r) for r in results], "machine": machine})


if __name__ == "__main__":
    main()
