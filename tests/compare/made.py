"""Comparisons and runs that were never trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mscsa.compare.results import ArmResult, CompareResult
from mscsa.compare.run import Run
from mscsa.evaluation import Accuracy
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import Recipe
from mscsa.speed.interleaved import Comparison, Timing


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


def result(baseline: tuple[float, ...], mscsa: tuple[float, ...]) -> CompareResult:
    timing = Timing(median_ms=2.0, p10_ms=1.0, p90_ms=3.0, images_per_s=500.0, calls=9)
    slower = replace(timing, median_ms=3.0, images_per_s=400.0)
    latency = tuple(
        Comparison(
            mode="inference",
            batch_size=batch_size,
            baseline=timing,
            model=slower,
            ratio=1.5,
            ratio_range=(1.4, 1.6),
            spread=spread,
            rounds=5,
        )
        for batch_size, spread in ((1, 0.01), (64, 0.2))
    )
    machine = {
        **{"device_name": "a CPU", "threads": 1, "cores": 2, "dtype": "float32", "channels_last": False},
        **{"load_average": 0.1, "versions": {"torch": "2.14"}},
    }
    return CompareResult(
        out=Path("out"),
        seeds=tuple(range(len(baseline))),
        metric="top1",
        labels=Accuracy.LABELS,
        input_size=(64, 64),
        baseline=arm("net", *baseline),
        mscsa=arm("mscsa_net", *mscsa, macs=124),
        latency=latency,
        machine=machine,
    )


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
