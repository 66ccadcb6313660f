"""All four detectors, with and without MSCSA, learn 16 scenes by heart.

It is the proof that training, targets, decoding and evaluation belong together: a detector that cannot reach
box AP 0.8 (mask AP 0.7; Deformable DETR box AP 0.7) on images that it trains on is wired wrongly. Run from
the repository's root:

    python benchmarks/overfit_detectors.py --json benchmarks/results/overfit_detectors.json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from mscsa.data import SceneDetection, build_dataset
from mscsa.detection import Detector, build_detector
from mscsa.evaluation import DetectionScores, measure_detection
from mscsa.names import parse_model_name
from mscsa.recipes.spec import DetectionAugment, DetectionData
from mscsa.report import Table, show, write_json
from mscsa.speed.machine import describe_machine, machine_line
from mscsa.speed.steps import StepOptions
from mscsa.training.objectives import DetectionObjective

NUM_SCENES = 16

RCNN = {"anchor_scale": 4.0, "fpn_channels": 64, "proposals": 64, "boxes_per_img": 64}
DETR = {"encoder_layers": 2, "decoder_layers": 2, "num_queries": 50, "dropout": 0.0, "box_refine": True}


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A detector, and how it is trained; without MSCSA and with it alike."""

    detector: str
    steps: int
    lr: float
    """Highest learning rate, on one cycle of AdamW."""
    options: dict[str, Any] = field(default_factory=dict)
    """Of the detector."""
    backbone_factor: float = 1.0
    """Learning rate of backbone and MSCSA, relative to that of the head."""


VARIANTS = (
    Variant(detector="mask_rcnn", steps=500, lr=1e-3, options=RCNN),
    Variant(detector="cascade_mask_rcnn", steps=500, lr=1e-3, options=RCNN),
    # Digits begin at 20 px: anchors of 20 px at stride 8.
    Variant(detector="retinanet", steps=600, lr=2e-3, options={"anchor_scale": 2.5, "fpn_channels": 64}),
    Variant(detector="deformable_detr", steps=800, lr=1e-3, options=DETR),
)
BACKBONES = ("resnet10t", "mscsa_resnet10t")


@dataclass(frozen=True, kw_only=True)
class Overfit:
    """What one detector came to on the scenes it was trained on."""

    detector: str
    backbone: str
    scores: DetectionScores
    steps: int
    batch_size: int
    lr: float
    size: int
    """Side of the scenes in pixels."""
    seconds: float
    """Of training, on one thread."""


def overfit(
    variant: Variant,
    backbone: str,
    *,
    size: int = 160,
    num_scenes: int = NUM_SCENES,
    batch_size: int = 4,
) -> Overfit:
    """Train a detector on a few scenes and score it on the same.

    Args:
        variant: The detector and its training.
        backbone: Name of the backbone, from random weights.
        size: Side of the scenes in pixels.
        num_scenes: Scenes of up to four digits.
        batch_size: Scenes per step.
    """
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = build_overfit_detector(variant, backbone)
    data = DetectionData(kind="scenes", short_side=size, long_side=size, num_train=num_scenes, max_digits=4)
    dataset = build_dataset(
        "train", data, DetectionAugment(hflip=0.0), {}, seed=0, with_masks=model.has_masks
    )
    assert isinstance(dataset, SceneDetection)
    samples = [dataset[i] for i in range(num_scenes)]
    seconds = _train(model, variant, samples, batch_size)
    targets = [{"image_id": i, "size": (size, size)} for i in range(num_scenes)]
    scores = measure_detection(
        model,
        [([image for image, _, _ in samples], targets, torch.arange(num_scenes))],
        dataset=dataset,
        device=torch.device("cpu"),
        with_masks=model.has_masks,
    )
    assert scores is not None
    return Overfit(
        detector=variant.detector,
        backbone=backbone,
        scores=scores,
        steps=variant.steps,
        batch_size=batch_size,
        lr=variant.lr,
        size=size,
        seconds=seconds,
    )


def build_overfit_detector(variant: Variant, backbone: str) -> Detector:
    """Build a detector of the ten digits from random weights, so that all batch norms are live."""
    options = dict(variant.options)
    if parse_model_name(backbone).has_mscsa:
        # Scenes are small: at the paper's stride of 32 they would be 5x5 tokens.
        options["fields"] = {"pool_stride": 16}
    return build_detector(variant.detector, backbone, 10, backbone_norm="live", **options)


def _train(model: Detector, variant: Variant, samples: Sequence[Any], batch_size: int) -> float:
    """Train on batches drawn at random; give the seconds."""
    groups = [
        {"params": list(model.pyramid.parameters()), "lr": variant.backbone_factor * variant.lr},
        {
            "params": [p for name, p in model.named_parameters() if not name.startswith(model.body)],
            "lr": variant.lr,
        },
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=[group["lr"] for group in groups], total_steps=variant.steps
    )
    objective = DetectionObjective()
    model.train()
    start = time.monotonic()
    for step in range(variant.steps):
        chosen = [samples[i] for i in torch.randperm(len(samples))[:batch_size]]
        loss = objective(model, [image for image, _, _ in chosen], [target for _, target, _ in chosen]).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"{variant.detector}, step {step + 1}: loss {loss.item():.3f}", flush=True)
    return time.monotonic() - start


def main() -> None:
    """Run all variants, show them, and write them as JSON."""
    parser = argparse.ArgumentParser(description="Detectors learn 16 scenes by heart.")
    parser.add_argument("--json", help="write the results to this file; those of other detectors stay in it")
    parser.add_argument("--jobs", type=int, default=2, help="detectors at a time, of one thread each")
    parser.add_argument("--detectors", nargs="+", default=[v.detector for v in VARIANTS])
    arguments = parser.parse_args()
    chosen = [(v, b) for v in VARIANTS if v.detector in arguments.detectors for b in BACKBONES]
    with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        futures = [pool.submit(overfit, variant, backbone) for variant, backbone in chosen]
        for future in as_completed(futures):
            done = future.result()
            print(
                f"{done.detector} on {done.backbone}: box AP {done.scores.ap:.1f} %, "
                f"mask AP {getattr(done.scores, 'mask_ap', float('nan')):.1f} % after {done.seconds:.0f} s",
                flush=True,
            )
    results = [future.result() for future in futures]
    machine = describe_machine(StepOptions())
    show(overfit_table(results, machine_line(machine)))
    if arguments.json:
        write_json(arguments.json, _merged(Path(arguments.json), [asdict(each) for each in results], machine))


def _merged(path: Path, results: list[dict[str, Any]], machine: dict[str, Any]) -> dict[str, Any]:
    """Put results in the place of former ones of the same detector and backbone."""
    former = json.loads(path.read_text())["results"] if path.exists() else []
    by_key = {(each["detector"], each["backbone"]): each for each in [*former, *results]}
    order = [(variant.detector, backbone) for variant in VARIANTS for backbone in BACKBONES]
    return {"results": [by_key[key] for key in order if key in by_key], "machine": machine}


def overfit_table(results: Sequence[Overfit], note: str) -> Table:
    """Lay out the scores."""
    rows = [
        (
            each.detector,
            each.backbone,
            f"{each.scores.ap:.1f}",
            f"{each.scores.ap75:.1f}",
            f"{mask_ap:.1f}" if (mask_ap := getattr(each.scores, "mask_ap", None)) is not None else "-",
            str(each.steps),
            f"{each.seconds:.0f}",
        )
        for each in results
    ]
    return Table(
        title=f"AP on {NUM_SCENES} scenes that were trained on (%)",
        columns=("detector", "backbone", "box AP", "box AP75", "mask AP", "steps", "seconds"),
        rows=rows,
        num_text_columns=2,
        notes=(note,),
    )


if __name__ == "__main__":
    main()
