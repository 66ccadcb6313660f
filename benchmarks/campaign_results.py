"""What the campaign's files say (benchmarks/results/campaign): scores, and differences of arms over seeds."""

from __future__ import annotations

import json
import shlex
from functools import cache
from statistics import mean
from typing import Any

from benchmarks.campaign import RESULTS, ROWS
from mscsa.compare.statistics import PairedStatistics, paired_statistics
from mscsa.neck_table import OTHER_NECKS

TITLES = {
    "frozen_camvid_long": "Street scenes (CamVid), frozen backbone, 1200 steps",
    "frozen_camvid_lite2": "Street scenes (CamVid), frozen EfficientNet-Lite2, 1200 steps",
    "frozen_camvid": "Street scenes (CamVid), frozen backbone, 300 steps",
    "frozen_camvid_192": "Street scenes in crops of 192 px, 400 steps, MSCSA at 14 %",
    "frozen_camvid_192_necks": "Street scenes in crops of 192 px, beside the other necks",
    "frozen_camvid_192_starts": "How MSCSA begins, in these crops",
    "frozen_camvid_192_table_4": "The paper's Table 4, in these crops",
    "frozen_camvid_192_table_5": "The paper's Table 5, in these crops",
    "frozen_nuclei": "Cell nuclei, frozen backbone",
    "frozen_nuclei_necks": "Cell nuclei: the other necks",
    "frozen_carparts": "Car parts, frozen backbone",
    "frozen_carparts_necks": "Car parts: the other necks",
    "finetuned_camvid_recipe": "Street scenes (CamVid), whole backbone trained, 800 steps",
    "finetuned_camvid": "Street scenes, whole backbone trained by the recipe for frozen ones, 600 steps",
    "finetuned_imagenette": "Photographs (Imagenette), kept classifier, timm's start",
    "finetuned_imagenette_tokens": "Photographs (Imagenette), the paper's beside timm's start",
    "finetuned_imagenette_start": "Photographs (Imagenette), whole backbone trained, the paper's classifier",
    "finetuned_imagenette_kept": "Photographs (Imagenette), whole backbone trained, kept classifier",
    "frozen_collages_knobs": "What the paper leaves open, on collages of photographs",
    "frozen_camvid_rich": "Street scenes (CamVid), frozen backbone, MSCSA at half the backbone's cost",
}
"""Rows in the order of the page."""

LABELS = {"top1": "top-1", "miou": "mIoU", "ap": "box AP", "mask_ap": "mask AP"}
"""What the page calls scores."""

Row = dict[str, Any]


def load_rows() -> dict[str, Row]:
    """Read the rows that are there, in the order of the page."""
    files = {name: RESULTS / f"{name}.json" for name in TITLES}
    return {name: json.loads(path.read_text()) for name, path in files.items() if path.exists()}


def load_latency() -> dict[str, dict[str, Any]]:
    """Read the times of the arms, by row; empty where they were not measured."""
    path = RESULTS / "latency.json"
    return json.loads(path.read_text())["rows"] if path.exists() else {}


def scores_of(row: Row, arm: str, metric: str) -> list[float]:
    """Give a score of each seed, in %."""
    values = row["arms"][arm]
    scores: list[float] = values["scores"] if metric == row["metric"] else values["other_scores"][metric]
    return scores


def metric_of(row: Row) -> str:
    """Name the score that the protocol asks for: of masks where there are any."""
    has_masks = "mask_ap" in row["arms"]["mscsa"]["other_scores"]
    return "mask_ap" if has_masks else str(row["metric"])


@cache
def statistics_of(differences: tuple[float, ...]) -> PairedStatistics:
    """Judge the differences of the seeds; the same ones are asked for several times."""
    return paired_statistics(differences)


def contrast_of(row: Row, first: str, second: str, metric: str | None = None) -> PairedStatistics:
    """Take the difference of two arms over the seeds."""
    metric = metric or metric_of(row)
    pairs = zip(scores_of(row, first, metric), scores_of(row, second, metric), strict=True)
    return statistics_of(tuple(a - b for a, b in pairs))


def best_neck(row: Row) -> str | None:
    """Name the neck in MSCSA's place with the best mean; None if there is none."""
    necks = [arm for arm in row["arms"] if arm in OTHER_NECKS]
    return max(necks, key=lambda arm: mean(scores_of(row, arm, metric_of(row))), default=None)


def class_metric_of(row: Row) -> str | None:
    """Name the score that a row has by class; None where the file has none (old ones, classifiers)."""
    known = row["arms"]["mscsa"].get("class_scores", {})
    wanted = metric_of(row)  # that of masks is not in older files
    return wanted if wanted in known else next(iter(known), None)


def holm(ps: list[float]) -> list[float]:
    """Correct p values for their number: the chance of one such among all, if there is no difference.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scand. J. Statist. 6.
    """
    corrected = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda place: ps[place])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        corrected[place] = largest
    return corrected


def seeds_of(name: str, row: Row) -> str:
    """Say how many seeds a row has, and of how many, where it was not finished."""
    planned, done = ROWS[name].seeds, len(row["seeds"])
    return str(done) if planned == done else f"{done} of {planned}"


def command_of(name: str) -> str:
    """Give the command that makes a row with today's recipes, whose defaults may have changed since."""
    return shlex.join(ROWS[name].command("runs/campaign"))
