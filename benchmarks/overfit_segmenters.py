"""Both segmentation heads, with and without MSCSA, learn 16 scenes by heart.

It is the proof that model, loss, data and score belong together: a segmenter that cannot reach mIoU 0.9
on images that it trains on is wired wrongly. Run from the repository's root:

    python benchmarks/overfit_segmenters.py --json benchmarks/results/overfit_segmenters.json
"""

from __future__ import annotations

import argparse
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context

import torch

from mscsa.data import build_dataset
from mscsa.evaluation import SegmentationScores, measure_segmentation
from mscsa.names import parse_model_name
from mscsa.recipes.spec import SegmentationAugment, SegmentationData
from mscsa.report import Table, show, write_json
from mscsa.segmentation import Segmenter, build_segmenter
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions
from mscsa.training.objectives import SegmentationObjective

VARIANTS = (
    ("semantic_fpn", "resnet10t", 192, 900, 3e-3),
    ("semantic_fpn", "mscsa_resnet10t", 192, 900, 3e-3),
    ("topformer_head", "topformer_tiny", 384, 600, 3e-3),
    ("topformer_head", "mscsa_topformer_tiny", 384, 900, 4e-3),
)
"""Head, backbone, side of the scenes in pixels, steps, highest learning rate.

Logits at 1/4 (Semantic FPN) or 1/8 (TopFormer's head) cannot draw strokes of a pixel or two: the labels
themselves, averaged to that resolution and back, have mIoU 96 % at these sizes.
"""

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
    lr: float
    size: int
    """Side of the scenes in pixels."""
    seconds: float
    """Of training, on one thread."""


def overfit(
    head: str,
    backbone: str,
    *,
    size: int,
    steps: int,
    num_scenes: int = NUM_SCENES,
    batch_size: int = 4,
    lr: float = 3e-3,
) -> Overfit:
    """Train a segmenter on a few scenes and score it on the same.

    Args:
        head: Name of the segmenter.
        backbone: Name of the backbone, from random weights.
        size: Side of the scenes in pixels.
        steps: Steps of AdamW, on one cycle of the learning rate.
        num_scenes: Scenes of up to four digits.
        batch_size: Scenes per step.
        lr: Highest learning rate.
    """
    torch.set_num_threads(1)
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
        lr=lr,
        size=size,
        seconds=seconds,
    )


def _build(head: str, backbone: str) -> Segmenter:
    options: dict[str, object] = {"dropout": 0.0}
    if head == "semantic_fpn":
        options |= {"fpn_channels": 64, "head_channels": 64}
    if parse_model_name(backbone).has_mscsa:
        # Scenes are small: at the paper's strides of 32 and 64 they would be a few tokens.
        options["fields"] = {"pool_stride": 16 if head == "semantic_fpn" else 32}
    return build_segmenter(head, backbone, 11, **options)


def main() -> None:
    """Run all variants, show them, and write them as JSON."""
    parser = argparse.ArgumentParser(description="Segmenters learn 16 scenes by heart.")
    parser.add_argument("--json", help="write the results to this file")
    parser.add_argument("--jobs", type=int, default=2, help="segmenters at a time, of one thread each")
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = [
            pool.submit(overfit, head, backbone, size=size, steps=steps, lr=lr)
            for head, backbone, size, steps, lr in VARIANTS
        ]
        for future in as_completed(futures):
            done = future.result()
            print(
                f"{done.head} on {done.backbone}: mIoU {done.miou:.1f} % after {done.seconds:.0f} s",
                flush=True,
            )
    results = [future.result() for future in futures]
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
