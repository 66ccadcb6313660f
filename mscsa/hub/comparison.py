"""What a comparison says about a run: read from the file that `mscsa compare` writes, in Markdown."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.errors import UserError
from mscsa.report import percent_more
from mscsa.run_files import COMPARISON


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A matched comparison, laid out."""

    arms: list[str]
    """Rows of a table: each arm with its scores and costs."""
    verdicts: list[str]
    """What the numbers allow to say, a sentence for each pair with MSCSA."""
    seeds: int
    test_images: int
    score: str
    """Name of the score."""


def find_comparison(run: Path) -> Path | None:
    """Find the result of the comparison that a run is an arm of: OUT/ARM/SEED lies in OUT."""
    path = run.resolve().parent.parent / COMPARISON
    return path if path.is_file() else None


def read_comparison(path: str | Path, recipe: str) -> Matched:
    """Read the result of a comparison.

    Args:
        recipe: Recipe of the model that it is to be about, in one of the arms.
    Raises:
        UserError: If there is no such file, it is none of `mscsa compare`, or is about other recipes.
    """
    try:
        content = json.loads(Path(path).read_bytes())
        if recipe not in {arm["recipe"] for arm in content["arms"].values()}:
            known = ", ".join(sorted({str(arm["recipe"]) for arm in content["arms"].values()}))
            raise UserError(
                f"{path} compares {known}, the model is of recipe {recipe}: give one that compares it"
            )
        return _laid_out(content)
    except UserError:
        raise
    except OSError as error:
        raise UserError(
            f"comparison {path}: {error.strerror}; give {COMPARISON} of the folder of `mscsa compare`"
        ) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no result of `mscsa compare`: give its {COMPARISON}") from error


def _laid_out(content: Mapping[str, Any]) -> Matched:
    baseline = content["arms"]["baseline"]
    contrasts = {each["of"]: each for each in content["comparisons"] if each["against"] == "baseline"}
    rows = []
    for name, arm in content["arms"].items():
        more = {key: percent_more(arm[key], baseline[key]) for key in ("parameters", "macs")}
        difference = "" if name == "baseline" else _difference(contrasts[name])
        cost = "" if name == "baseline" else more["macs"]
        score = f"{arm['mean']:.2f}" + ("" if arm["std"] is None else f" ± {arm['std']:.2f}")
        rows.append(
            f"| {arm['model']} | {score} | {difference} | {arm['parameters'] / 1e6:.2f} M "
            f"| {arm['macs'] / 1e9:.3f} G | {cost} |"
        )
    return Matched(
        arms=rows,
        verdicts=[each["verdict"] for each in content["comparisons"] if each["of"] == "mscsa"],
        seeds=len(content["seeds"]),
        test_images=content["test_images"],
        score=content["metric"],
    )


def _difference(contrast: Mapping[str, Any]) -> str:
    interval = contrast["interval_95_seeds"]
    shown = "no interval" if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}"
    return f"{contrast['mean']:+.2f} ({shown})"
