"""Comparisons and runs that were never trained."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from mscsa.compare.results import ArmResult, CompareResult, Contrast, pairs_of
from mscsa.compare.run import Run
from mscsa.compare.statistics import Interval, paired_statistics
from mscsa.compare.tables import compare_json
from mscsa.evaluation import Accuracy
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import Recipe
from mscsa.report import write_json
from mscsa.speed.interleaved import Comparison, Ratio, Timing

SEEDS = 6
BASE = (70.0, 71.0, 72.0, 73.0, 74.0, 75.0)
"""Scores of a baseline."""


def arm(model: str, *top1: float, macs: int = 100) -> ArmResult:
    return ArmResult(
        model=model,
        recipe=f"scenes/{model}",
        scores=top1,
        curves=tuple([(1.0, value / 2), (2.0, value)] for value in top1),
        seconds=(1.0,) * len(top1),
        parameters=1_000_000,
        macs=macs,
        other_scores={"top5": tuple(score + 20 for score in top1), "loss": (0.5,) * len(top1)},
    )


def result(
    baseline: tuple[float, ...],
    mscsa: tuple[float, ...],
    control: tuple[float, ...] | None = None,
    *,
    necks: dict[str, tuple[float, ...]] | None = None,
    image_interval: Interval = (0.1, 3.0),
) -> CompareResult:
    arms = {"baseline": arm("net", *baseline)}
    if control is not None:
        arms["control"] = arm("net, wider head", *control, macs=125)
    for neck, scores in (necks or {}).items():
        arms[neck] = arm(f"net + {neck}", *scores, macs=126)
    arms["mscsa"] = arm("mscsa_net", *mscsa, macs=124)
    return CompareResult(
        out=Path("out"),
        seeds=tuple(range(len(baseline))),
        metric="top1",
        labels=Accuracy.LABELS,
        input_size=(64, 64),
        num_images=2000,
        block=1,
        arms=arms,
        contrasts=tuple(
            Contrast(
                first=a,
                second=b,
                seeds=paired_statistics([x - y for x, y in zip(arms[a].scores, arms[b].scores, strict=True)]),
                image_interval=image_interval,
            )
            for a, b in pairs_of(arms)
        ),
        control_note="Control: a wider head." if control else "No control of the same MACs: none.",
        neck_notes={neck: f"{neck}: channels 8." for neck in necks or {}},
        latency=latency(len(arms)),
        machine={
            **{"device_name": "a CPU", "threads": 1, "cores": 2, "dtype": "float32"},
            **{"folded": False, "compiled": False, "cuda_graph": False},
            **{"channels_last": False, "load_average": 0.1, "versions": {"torch": "2.14"}},
        },
    )


def latency(num_arms: int) -> tuple[Comparison, ...]:
    """The first arm takes 2 ms, the others 3; the ratio is unstable at batch 64."""
    timing = Timing(median_ms=2.0, p10_ms=1.0, p90_ms=3.0, p95_ms=3.5, images_per_s=500.0, calls=9)
    slower = replace(timing, median_ms=3.0, p95_ms=4.25, images_per_s=400.0)
    return tuple(
        Comparison(
            mode="inference",
            batch_size=batch_size,
            timings=(timing, *[slower] * (num_arms - 1)),
            ratios=(Ratio(median=1.5, range=(1.4, 1.6), spread=spread),) * (num_arms - 1),
            rounds=5,
        )
        for batch_size, spread in ((1, 0.01), (64, 0.2))
    )


def write_finished(folder: Path, compared: CompareResult) -> Path:
    """Write compare.json, and what `compare_json` reads, into the folder of a comparison."""
    for arm in compared.arms:
        for seed in compared.seeds:
            environment = folder / arm / f"seed{seed}" / "environment.json"
            environment.parent.mkdir(parents=True, exist_ok=True)
            last = {"git_commit": f"{arm[0]}" * 40, "device": "cpu", "versions": {"torch": "2"}}
            environment.write_text(json.dumps({"sessions": [last | {"git_commit": None}, last]}))
        (folder / f"{arm}.yaml").write_text(f"name: scenes/{arm}\n")
    write_json(folder / "compare.json", compare_json(replace(compared, out=folder)))
    return folder


def run_in(folder: Path) -> Run:
    return Run(
        arm="mscsa",
        seed=1,
        recipe_name="scenes/mscsa_resnet10t",
        config=folder / "mscsa.yaml",
        folder=folder / "mscsa" / "seed1",
        log=folder / "logs" / "mscsa-seed1.log",
        epochs=4,
        steps=None,
        threads=None,
        metric="top1",
        metric_label="top-1",
    )


def tiny_recipe() -> Recipe:
    """A comparison of some seconds per run."""
    recipe = get_recipe("scenes/mscsa_resnet10t")
    return replace(
        recipe,
        model=replace(recipe.model, name="test_resnet", budget=0.5),
        data=replace(recipe.data, image_size=32, num_train=32, num_val=16, batch_size=16, eval_batch_size=16),
        run=replace(recipe.run, epochs=2, accelerator="cpu"),
    )


def tiny_segmenter() -> Recipe:
    """The same with a head that can be wider."""
    recipe = get_recipe("scenes_semantic_fpn/mscsa_resnet10t")
    options = {"fpn_channels": 8, "head_channels": 8}
    return replace(
        recipe,
        model=replace(recipe.model, name="test_resnet", budget=0.5, head_kwargs=options),
        data=replace(
            recipe.data,
            **{"image_size": 32, "short_side": 32, "long_side": 32, "num_train": 16, "num_val": 8},
            **{"batch_size": 8, "eval_batch_size": 4},
        ),
        run=replace(recipe.run, epochs=1, accelerator="cpu"),
    )
