"""What is worth its cost: the arms of finished comparisons by score and cost, and those that none beats."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from mscsa.compare.picture import color_of, label_of
from mscsa.errors import UserError
from mscsa.evaluation.scores import SCORES
from mscsa.pictures.figure import new_figure, save_figure
from mscsa.report import Table
from mscsa.run_files import COMPARISON

Cost = Literal["macs", "parameters", "ms"]

COSTS: dict[Cost, tuple[str, float]] = {
    "macs": ("GMACs", 1e9),
    "parameters": ("parameters (M)", 1e6),
    "ms": ("ms, batch 1", 1.0),
}
"""What an arm costs: what axes and columns call it, and its unit."""

_PANEL_WIDTH, _PANEL_HEIGHT = 5.2, 4.2
_COLUMNS = 2


@dataclass(frozen=True, kw_only=True)
class ArmPoint:
    """One arm: how good, and at what cost."""

    arm: str
    """Its name in the comparison."""
    model: str
    """What tables call it."""
    score: float
    """Mean over the seeds, in %."""
    std: float | None
    """Over the seeds; None for one."""
    costs: dict[Cost, float | None]
    """In plain units; ms is None where it was not measured."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A comparison that was finished, as its file has it."""

    path: Path
    recipe: str
    """Of the arm with MSCSA."""
    metric_label: str
    input_size: tuple[int, int]
    """(H, W) in pixels at which costs hold."""
    num_seeds: int
    num_images: int
    """Test images."""
    verdicts: tuple[str, ...]
    """What the numbers allow to say of MSCSA against each other arm."""
    points: tuple[ArmPoint, ...]


def read_finished(given: Iterable[str | Path]) -> list[Finished]:
    """Read comparisons, each once, in their order.

    Args:
        given: Files that `mscsa compare` wrote, or folders: of a comparison, or of such files and folders.
    Raises:
        UserError: If one is no such file, or a folder has none.
    """
    files = list(dict.fromkeys(file for each in given for file in _files(Path(each))))
    return [_read(file) for file in files]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / COMPARISON).is_file():
        return [path / COMPARISON]
    found = sorted(
        [*path.glob(f"*/{COMPARISON}"), *(each for each in path.glob("*.json") if _is_finished(each))]
    )
    if not found:
        raise UserError(
            f"{path} holds no finished comparison: give the folder of `mscsa compare`, its {COMPARISON}"
        )
    return found


def _is_finished(path: Path) -> bool:
    """Whether a file among others is of a comparison."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and {"arms", "comparisons", "recipes"} <= content.keys()


def _read(path: Path) -> Finished:
    try:
        return _finished(path, json.loads(path.read_bytes()))
    except OSError as error:
        raise UserError(
            f"comparison {path}: {error.strerror}; give {COMPARISON} of `mscsa compare`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise UserError(f"{path} is no result of `mscsa compare`: give its {COMPARISON}") from error


def _finished(path: Path, content: Mapping[str, Any]) -> Finished:
    metric, arms = content["metric"], content["arms"]
    labels = next(kind.LABELS for kind in SCORES.values() if metric == kind.MAIN)
    height, width = content["input_size"]
    times: Mapping[str, Any] = next(
        (each["arms"] for each in content["latency"] if each["batch_size"] == 1), {}
    )
    points = [
        ArmPoint(
            arm=name,
            model=str(arm["model"]),
            score=float(arm["mean"]),
            std=None if arm["std"] is None else float(arm["std"]),
            costs={
                "macs": float(arm["macs"]),
                "parameters": float(arm["parameters"]),
                "ms": float(times[name]["median_ms"]) if name in times else None,
            },
        )
        for name, arm in arms.items()
    ]
    return Finished(
        path=path,
        recipe=str(arms["mscsa"]["recipe"]),
        metric_label=labels[metric][0],
        input_size=(int(height), int(width)),
        num_seeds=len(content["seeds"]),
        num_images=int(content["test_images"]),
        verdicts=tuple(str(each["verdict"]) for each in content["comparisons"] if each["of"] == "mscsa"),
        points=tuple(points),
    )


def pareto_front(points: Sequence[ArmPoint], cost: Cost) -> list[ArmPoint]:
    """Pick the points that no other beats: none is at least as good for at most that cost, and better in one.

    Args:
        cost: Which one; points without it are left out.
    Returns:
        The cheapest first.
    """
    known = [(value, point) for point in points if (value := point.costs[cost]) is not None]
    front: list[ArmPoint] = []
    for _, point in sorted(known, key=lambda each: (each[0], -each[1].score)):
        is_twin = front and (point.costs[cost], point.score) == (front[-1].costs[cost], front[-1].score)
        if not front or point.score > front[-1].score or is_twin:
            front.append(point)
    return front


def draw_pareto(finished: Sequence[Finished], cost: Cost, path: Path) -> None:
    """Draw each comparison's arms by cost and score as PNG, with those that none beats joined by a line.

    A panel for each: scores of different data do not compare.

    Raises:
        UserError: If matplotlib is missing, the file cannot be written, or the cost is known of no arm.
    """
    known = [each for each in finished if pareto_front(each.points, cost)]
    if not known:
        raise UserError(f"no comparison has measured {COSTS[cost][0]}: compare again without --no-latency")
    columns = min(_COLUMNS, len(known))
    rows = -(-len(known) // columns)
    figure = new_figure((_PANEL_WIDTH * columns, _PANEL_HEIGHT * rows))
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, each in zip(grid, known, strict=False):
        _draw_panel(axes, each, cost)
    for axes in grid[len(known) :]:
        axes.set_axis_off()
    save_figure(figure, path, dpi=110)


def _draw_panel(axes: Any, finished: Finished, cost: Cost) -> None:
    name, unit = COSTS[cost]
    arms = [point.arm for point in finished.points]
    for point in finished.points:
        value, color = point.costs[cost], color_of(point.arm, arms)
        if value is None:
            continue
        axes.errorbar(
            value / unit, point.score, yerr=point.std, fmt="o", color=color, markersize=8, capsize=4, zorder=3
        )
        axes.annotate(
            label_of(point.arm).replace("\n", " "),
            (value / unit, point.score),
            xytext=(8, 6),
            textcoords="offset points",
            color=color,
            fontsize=9,
        )
    front = [(value / unit, p.score) for p in pareto_front(finished.points, cost) if (value := p.costs[cost])]
    axes.plot(*zip(*front, strict=True), color="#888888", linewidth=1.2, linestyle="--", zorder=1)
    height, width = finished.input_size
    path = finished.path
    name_of = path.parent.name if path.name == COMPARISON else path.stem
    axes.set_title(
        f"{finished.recipe}\n{finished.num_seeds} seeds, {height}x{width} px ({name_of})", fontsize=9
    )
    axes.set(xlabel=name, ylabel=f"{finished.metric_label} (%)")
    axes.margins(x=0.25, y=0.2)
    axes.grid(color="#dddddd", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def pareto_table(finished: Finished) -> Table:
    """Lay out the arms of a comparison, and by which costs no other arm beats each."""
    fronts: dict[Cost, list[ArmPoint]] = {
        cost: pareto_front(finished.points, cost) for cost in get_args(Cost)
    }
    rows = [
        (
            point.model,
            f"{point.score:.2f}" + ("" if point.std is None else f" ± {point.std:.2f}"),
            *(_shown(point, cost) for cost in COSTS),
            ", ".join(COSTS[cost][0] for cost, front in fronts.items() if point in front) or "-",
        )
        for point in finished.points
    ]
    return Table(
        title=f"{finished.recipe}: {finished.num_seeds} seeds, {finished.num_images} test images",
        columns=(
            *("model", f"{finished.metric_label} %", *(name for name, _ in COSTS.values())),
            "no other is better and cheaper by",
        ),
        rows=rows,
        notes=(*finished.verdicts, f"From {finished.path}."),
    )


def _shown(point: ArmPoint, cost: Cost) -> str:
    value = point.costs[cost]
    if value is None:
        return "-"
    return f"{value / COSTS[cost][1]:.{1 if cost == 'ms' else 3}f}"
