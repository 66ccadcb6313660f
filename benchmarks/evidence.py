"""The page docs/evidence.md, from the files of the campaign (benchmarks/results/campaign).

    python -m benchmarks.evidence

writes the page, its pictures, and README's table; tests/benchmarks/test_evidence.py holds them to the files.
"""

from __future__ import annotations

import re
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from scipy.stats import t

from benchmarks.campaign import ROWS
from benchmarks.campaign_results import (
    LABELS,
    TITLES,
    Row,
    best_neck,
    class_metric_of,
    command_of,
    contrast_of,
    holm,
    load_latency,
    load_rows,
    metric_of,
    scores_of,
    seeds_of,
    statistics_of,
)
from mscsa.compare.picture import COLORS, label_of
from mscsa.compare.results import ARM_NAMES, show_interval
from mscsa.compare.statistics import PairedStatistics
from mscsa.pictures.figure import new_figure, save_figure

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "evidence.md"
FIGURES = ROOT / "docs" / "figures"
README = ROOT / "README.md"
MARKS = ("<!-- the campaign's table, by benchmarks/evidence.py -->", "<!-- its end -->")

NECK_ROWS = (
    *("frozen_camvid_long", "frozen_camvid_lite2", "frozen_camvid_rich", "frozen_camvid"),
    *("frozen_camvid_192", "frozen_camvid_192_necks"),
    *("frozen_nuclei", "frozen_nuclei_necks", "frozen_carparts", "frozen_carparts_necks"),
    *("finetuned_camvid_recipe", "finetuned_camvid"),
    *("finetuned_imagenette", "finetuned_imagenette_start", "finetuned_imagenette_kept"),
)
"""Those that compare MSCSA with what else the same MACs buy."""

FORMER_START = {
    "finetuned_imagenette": "finetuned_imagenette_kept",
    "finetuned_imagenette_tokens": "finetuned_imagenette_start",
}
"""Rows whose new classifiers began as timm draws them, and the same as recipes start them since."""

EXPECTED_GAINS = (
    *(("frozen_camvid_long", "baseline", 1.5), ("frozen_camvid_long", None, 0.5)),
    *(("frozen_camvid", "baseline", 1.5), ("frozen_camvid", None, 0.5)),
    *(("frozen_nuclei", "baseline", 1.0), ("frozen_carparts", "baseline", 1.0)),
    ("finetuned_camvid_recipe", "baseline", 0.5),
)
"""Row, against what (None: the best other neck), and the points that the protocol expects of MSCSA."""

EXPECTED_LEVEL = (
    ("finetuned_imagenette", "baseline", 1.0),
    ("finetuned_imagenette_start", "baseline", 3.0),
    ("finetuned_imagenette_kept", "baseline", 1.0),
)
"""Row, against what, and the points by which the protocol expects MSCSA to differ at most."""

EXPECTED_LOSSES = (("finetuned_imagenette_tokens", "baseline"),)
"""Row, and against what the protocol expects MSCSA to lose."""

EXPECTED_SMALLER = (
    (
        "a smaller gain over the baseline after 1200 steps than after 300",
        "frozen_camvid",
        "frozen_camvid_long",
    ),
    (
        "a smaller gain over the baseline with the whole backbone trained",
        "frozen_camvid_long",
        "finetuned_camvid_recipe",
    ),
    ("a smaller gain over the baseline on a larger backbone", "frozen_camvid_long", "frozen_camvid_lite2"),
)
"""What is expected, the row with the larger gain, and that with the smaller."""


def page(rows: dict[str, Row], latency: dict[str, dict[str, Any]]) -> str:
    """Write the whole page."""
    return (
        "\n\n".join(
            [
                (ROOT / "benchmarks" / "evidence_head.md").read_text().strip(),
                "## In short",
                summary(rows, latency),
                "## What was expected",
                _expectations(rows),
                *(_section(name, row, latency.get(name, {})) for name, row in rows.items()),
                (ROOT / "benchmarks" / "evidence_limits.md").read_text().strip(),
            ]
        )
        + "\n"
    )


def summary(rows: dict[str, Row], latency: dict[str, dict[str, Any]]) -> str:
    """Lay out MSCSA against its baseline, the wider head and the best other neck, a line per row.

    A row that another has again, with the other necks beside it, has no line of its own.
    """
    head = [
        "",
        "seeds",
        "MSCSA, baseline",
        "minus baseline",
        "minus wider head",
        "minus best other neck",
        "cost",
    ]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for name, row in rows.items():
        if ROWS[name].variants or f"{name}_necks" in rows:
            continue
        neck = best_neck(row)
        cells = [
            f"{TITLES[name]}, {LABELS[metric_of(row)]} %",
            seeds_of(name, row),
            ", ".join(f"{mean(scores_of(row, arm, metric_of(row))):.2f}" for arm in ("mscsa", "baseline")),
            _difference(contrast_of(row, "mscsa", "baseline")),
            _difference(contrast_of(row, "mscsa", "control")) if "control" in row["arms"] else "",
            "" if neck is None else f"{label_of(neck)[1:]}: {_difference(contrast_of(row, 'mscsa', neck))}",
            _cost(row["arms"], latency.get(name, {})),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _expectations(rows: dict[str, Row]) -> str:
    """Set what the protocol expected beside what was found."""
    lines = ["| expected | found | met |", "| --- | --- | --- |"]
    for name, against, least in EXPECTED_GAINS:
        if name not in rows:
            continue
        other = best_neck(rows[name]) if against is None else against
        if other is None:
            continue
        found = contrast_of(rows[name], "mscsa", other)
        word = f"the best other neck ({label_of(other)[1:]})" if against is None else f"the {_shown(other)}"
        met = "no" if found.mean < least else "yes" if found.direction > 0 else "not decided"
        expected = f"{TITLES[name]}: at least +{least:.1f} over {word}"
        lines.append(f"| {expected} | {_difference(found)} | {met} |")
    for name, against, most in EXPECTED_LEVEL:
        if name in rows:
            found = contrast_of(rows[name], "mscsa", against)
            expected = f"{TITLES[name]}: within {most:.1f} of the {_shown(against)}"
            lines.append(f"| {expected} | {_difference(found)} | {_is_level(found, most)} |")
    for name, against in EXPECTED_LOSSES:
        if name in rows:
            found = contrast_of(rows[name], "mscsa", against)
            met = {1: "no", 0: "not decided", -1: "yes"}[found.direction]
            lines.append(f"| {TITLES[name]}: below the {_shown(against)} | {_difference(found)} | {met} |")
    for what, *pair in EXPECTED_SMALLER:
        if any(name not in rows for name in pair):
            lines.append(f"| {what} | not run | |")
            continue
        first, second = (contrast_of(rows[name], "mscsa", "baseline") for name in pair)
        both = f"{_difference(first)}, then {_difference(second)}"
        lines.append(f"| {what} | {both} | {_is_smaller(second, first)} |")
    for name in ("frozen_camvid_192_table_4", "frozen_camvid_192_table_5"):
        if name in rows:
            lines.append(f"| the order of the paper's Table {name[-1]} | {_order_of(rows[name])} |")
    missing = ", ".join(f"`{name}`" for name in ROWS if name not in rows)
    return "\n".join(lines) + (
        f"\n\nRows of the protocol without a result here, not begun or cut off: {missing}." if missing else ""
    )


def _is_smaller(gain: PairedStatistics, other: PairedStatistics) -> str:
    """Say whether a gain is smaller than that of another row, whose seeds are others: by intervals apart."""
    if gain.interval is None or other.interval is None:
        return "not decided"
    if max(gain.interval) < min(other.interval):
        return "yes"
    return "no" if min(gain.interval) > max(other.interval) else "not decided"


def _is_level(contrast: PairedStatistics, most: float) -> str:
    """Say whether a difference is no larger than expected, in either direction: by its whole interval."""
    ends = contrast.interval or (contrast.mean,)
    low, high = min(ends), max(ends)
    if -most < low and high < most:
        return "yes"
    return "no" if low >= most or high <= -most else "not decided"


def _order_of(row: Row) -> str:
    """Say whether MSCSA is told apart from what the paper takes it apart into."""
    others = [arm for arm in row["arms"] if arm not in ("baseline", "mscsa")]
    clear = [arm for arm in others if contrast_of(row, "mscsa", arm).direction]
    if not clear:
        return "none of its rows differs clearly from MSCSA | not decided"
    below = all(contrast_of(row, "mscsa", arm).direction > 0 for arm in clear)
    return f"clearly different from MSCSA: {', '.join(clear)} | {'in part' if below else 'no'}"


def _cost(arms: dict[str, Any], latency: dict[str, Any]) -> str:
    """Write what MSCSA costs over the baseline: multiply-adds and, where it was measured, time."""
    share = arms["mscsa"]["macs"] / arms["baseline"]["macs"] - 1
    if not latency:
        return f"{100 * share:+.1f} % MACs"
    times = latency["arms"]
    return (
        f"{100 * share:+.1f} % MACs, x{times['mscsa']['median_ms'] / times['baseline']['median_ms']:.2f} time"
    )


def _difference(contrast: PairedStatistics) -> str:
    """Write a difference with its interval over seeds, bold where interval and test agree."""
    if contrast.interval is None:  # one seed, or all differ by the same
        return f"{contrast.mean:+.2f}"
    text = f"{contrast.mean:+.2f} ({show_interval(contrast.interval)})"
    return f"**{text}**" if contrast.direction else text


def _section(name: str, row: Row, latency: dict[str, Any]) -> str:
    height, width = row["input_size"]
    seconds = [each for arm in row["arms"].values() for each in arm["seconds"]]
    since = f", which make it `{FORMER_START[name]}`" if name in FORMER_START else ""
    parts = [
        f"## {TITLES[name]}",
        f"Row `{name}`: {seeds_of(name, row)} seeds, {row['test_images']} validation images, GMACs at "
        f"{height}x{width} px. {_trained_by(row)}; {len(seconds)} runs of {median(seconds) / 60:.1f} minutes "
        f"(median), several at a time. With today's recipes{since}: `{command_of(name)}`.",
        _arms_table(row, latency),
        "\n".join(f"* {note}" for note in _notes(row)),
        _seeds_table(row),
    ]
    if name in NECK_ROWS:
        parts += [_course(row)] if len(row["arms"]["mscsa"]["curves"][0]) > 1 else []
        parts += [_breakdown(row)] if _parts_of(row) else []
        parts.append(f"![Score against cost of the arms](figures/evidence_{name}.png)")
    return "\n\n".join(parts)


def _trained_by(row: Row) -> str:
    """Say on what, and of which commits, its runs were trained; older files know of one."""
    machine = row["training_environment"]
    one = {
        "git_commit": row["commit"],
        "device": machine["device"],
        "torch": machine["versions"]["torch"],
        "runs": None,
    }
    said = []
    for each in row.get("trained_by", [one]):
        runs = "" if each["runs"] is None else f" ({each['runs']} runs)"
        said.append(f"commit {str(each['git_commit'])[:10]}{runs}, {each['device']}, torch {each['torch']}")
    return "Trained by " + "; ".join(said)


def _seeds_table(row: Row) -> str:
    """Lay out the score of each seed."""
    lines = [f"| seed | {' | '.join(map(str, row['seeds']))} |", f"|{' --- |' * (len(row['seeds']) + 1)}"]
    for arm in row["arms"]:
        scores = scores_of(row, arm, metric_of(row))
        lines.append(f"| {' | '.join([_shown(arm), *(f'{score:.2f}' for score in scores)])} |")
    return "\n".join(lines)


def _arms_table(row: Row, latency: dict[str, Any]) -> str:
    metric = metric_of(row)
    metrics = [metric, *(["ap"] if metric == "mask_ap" else [])]
    head = ["arm", *(f"{LABELS[each]} %" for each in metrics), "minus baseline", "MSCSA minus it", "p"]
    head += ["GMACs", "parameters (M)", *(["ms, batch 1"] if latency else [])]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for arm, values in row["arms"].items():
        against = contrast_of(row, "mscsa", arm) if arm != "mscsa" else None
        cells = [
            _shown(arm),
            *(_spread(scores_of(row, arm, each)) for each in metrics),
            "" if arm == "baseline" else _difference(contrast_of(row, arm, "baseline")),
            "" if against is None else _difference(against),
            "" if against is None else f"{against.p:.2g}",
            f"{values['macs'] / 1e9:.4f}",
            f"{values['parameters'] / 1e6:.2f}",
            *([f"{latency['arms'][arm]['median_ms']:.1f}"] if latency else []),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spread(scores: list[float]) -> str:
    return f"{mean(scores):.2f}" + (f" ± {stdev(scores):.2f}" if len(scores) > 1 else "")


def _shown(arm: str) -> str:
    return label_of(arm).lstrip("+") if arm in ARM_NAMES else f"MSCSA, {arm}"


def _notes(row: Row) -> list[str]:
    """Give the verdicts on the primary differences, as `compare` gives them, and what the arms are."""
    neck = best_neck(row)
    primary = ["baseline", *(arm for arm in ("control", neck) if arm in row["arms"])]
    found = {each["against"]: each["verdict"] for each in row["comparisons"] if each["of"] == "mscsa"}
    word = f"{LABELS[row['metric']]}: " if metric_of(row) != row["metric"] else ""
    verdicts = [f"{word}{found[arm]}" for arm in primary]
    if len(primary) > 1:
        corrected = holm([contrast_of(row, "mscsa", arm).p for arm in primary])
        verdicts.append(
            f"p of these {len(primary)} in {LABELS[metric_of(row)]}, corrected for their number (Holm): "
            + ", ".join(f"{p:.2g}" for p in corrected)
            + "."
        )
    verdicts += _without_the_largest_gain(row, primary)
    made = [row["control"]] if "control" in row["arms"] else []
    return [*verdicts, *made, *row["necks"].values(), *row["variants"].values()]


def _without_the_largest_gain(row: Row, against: list[str]) -> list[str]:
    """Say what is left of the differences without the class that gains most over the baseline."""
    metric = class_metric_of(row)
    if metric is None or len(row["classes"]) < 3 or row["variants"]:
        return []
    places = range(len(row["classes"]))
    scores = {arm: row["arms"][arm]["class_scores"][metric] for arm in ("mscsa", *against)}
    gains = [
        mean(a[i] - b[i] for a, b in zip(scores["mscsa"], scores["baseline"], strict=True)) for i in places
    ]
    most = max(places, key=gains.__getitem__)
    left = {arm: [mean(s[i] for i in places if i != most) for s in each] for arm, each in scores.items()}
    words = [
        f"{_plain(statistics_of(tuple(a - b for a, b in zip(left['mscsa'], left[arm], strict=True))))} over "
        f"{_shown(arm)}"
        for arm in against
    ]
    label = row["classes"][most]
    return [f"{LABELS[metric]} without {label}, the class that gains most: {', '.join(words)}."]


def _course(row: Row) -> str:
    """Lay out the score after each evaluation: how fast an arm learns."""
    arms = {
        arm: [[score for _, score in curve] for curve in each["curves"]] for arm, each in row["arms"].items()
    }
    epochs = [epoch for epoch, _ in row["arms"]["mscsa"]["curves"][0]]
    label = LABELS[row["metric"]]
    lines = [f"| {label} % after epochs | {' | '.join(f'{epoch:g}' for epoch in epochs)} |"]
    lines.append(f"|{' --- |' * (len(epochs) + 1)}")
    for arm, curves in arms.items():
        cells = [_spread([curve[place] for curve in curves]) for place in range(len(epochs))]
        lines.append(f"| {' | '.join([_shown(arm), *cells])} |")
    pairs = list(zip(arms["mscsa"], arms["baseline"], strict=True))
    gains = [
        _plain(statistics_of(tuple(first[place] - second[place] for first, second in pairs)))
        for place in range(len(epochs))
    ]
    lines.append(f"| MSCSA minus baseline | {' | '.join(gains)} |")
    return "\n".join(lines)


def _breakdown(row: Row) -> str:
    """Lay out the scores of classes and, of a detector, of sizes of objects: where a gain comes from.

    Nothing here is bold: of so many differences some look clear by chance.
    """
    arms = list(row["arms"])
    others = [arm for arm in ("baseline", "control") if arm in arms]
    head = ["", *(_shown(arm) for arm in arms), *(f"MSCSA minus {_shown(arm)}" for arm in others)]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for part, scores in _parts_of(row).items():
        contrasts = [
            statistics_of(tuple(a - b for a, b in zip(scores["mscsa"], scores[arm], strict=True)))
            for arm in others
        ]
        cells = [part, *(f"{mean(scores[arm]):.1f}" for arm in arms)]
        lines.append(f"| {' | '.join([*cells, *(_plain(each) for each in contrasts)])} |")
    return "\n".join(lines)


def _parts_of(row: Row) -> dict[str, dict[str, list[float]]]:
    """Give the scores of each part, by arm, over the seeds."""
    arms = row["arms"]
    metric = metric_of(row)
    sizes = ("small", "medium", "large") if metric == "mask_ap" else ()
    parts = {
        f"{LABELS[metric]}, {size} objects": {
            arm: each["other_scores"][f"{metric}_{size}"] for arm, each in arms.items()
        }
        for size in sizes
    }
    if row["metric"] == "miou":
        for score, words in (("mean_accuracy", "mean accuracy"), ("pixel_accuracy", "pixel accuracy")):
            parts[words] = {arm: each["other_scores"][score] for arm, each in arms.items()}
    by_class = class_metric_of(row)
    if by_class is not None and len(row["classes"]) > 1:
        word = "IoU" if by_class == "miou" else LABELS[by_class]
        for place, label in enumerate(row["classes"]):
            parts[f"{word}, {label}"] = {
                arm: [scores[place] for scores in each["class_scores"][by_class]]
                for arm, each in arms.items()
            }
    return parts


def _plain(contrast: PairedStatistics) -> str:
    return _difference(contrast).strip("*")


def shown_in_readme(rows: dict[str, Row]) -> dict[str, Row]:
    """Choose README's rows: those of `NECK_ROWS`, but none that was measured again since."""
    names = [name for name in NECK_ROWS if name in rows and FORMER_START.get(name) not in rows]
    return {name: rows[name] for name in names}


def readme_table(rows: dict[str, Row], latency: dict[str, dict[str, Any]]) -> str:
    """Write README's table: the summary, between its marks."""
    return f"{MARKS[0]}\n{summary(rows, latency)}\n{MARKS[1]}"


def draw_pareto(name: str, row: Row, latency: dict[str, Any]) -> None:
    """Draw the score of each arm against MACs and, where it was measured, latency.

    Bars are the interval of the arm's own mean (Student's t): paired differences have narrower ones.
    """
    costs = {arm: values["macs"] / 1e9 for arm, values in row["arms"].items()}
    times = {arm: latency["arms"][arm]["median_ms"] for arm in row["arms"]} if latency else {}
    shown = [(costs, "GMACs"), *([(times, "ms, batch 1")] if times else [])]
    figure = new_figure((5.5 * len(shown), 4.4))
    panels = list(figure.subplots(1, len(shown), sharey=True, squeeze=False)[0])
    for axes, (values, words) in zip(panels, shown, strict=True):
        for arm, value in values.items():
            scores = scores_of(row, arm, metric_of(row))
            half = t.ppf(0.975, len(scores) - 1) * stdev(scores) / len(scores) ** 0.5
            axes.errorbar(
                value, mean(scores), yerr=half, fmt="o", color=COLORS[arm], capsize=3, label=label_of(arm)
            )
        axes.set_xlabel(words)
        axes.grid(color="#dddddd", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"{LABELS[metric_of(row)]} (%)")
    panels[0].legend(fontsize=9, framealpha=0.7)
    what = f"mean of {len(row['seeds'])} seeds and its 95 % interval"
    figure.suptitle(f"{TITLES[name]}\n{what}", fontsize=11, fontweight="bold")
    save_figure(figure, FIGURES / f"evidence_{name}.png", dpi=120)


def main() -> None:
    """Write all."""
    rows, latency = load_rows(), load_latency()
    PAGE.write_text(page(rows, latency))
    text = README.read_text()
    block = re.compile(f"{re.escape(MARKS[0])}.*?{re.escape(MARKS[1])}", re.DOTALL)
    shown = readme_table(shown_in_readme(rows), latency)
    README.write_text(block.sub(lambda _: shown, text))
    for name in NECK_ROWS:
        if name in rows:
            draw_pareto(name, rows[name], latency.get(name, {}))


if __name__ == "__main__":
    main()
