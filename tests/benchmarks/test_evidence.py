"""The campaign's page and README's table say what the campaign's files say, and no more."""

from __future__ import annotations

import re

import pytest
import yaml  # type: ignore[import-untyped]

from benchmarks import evidence
from benchmarks.campaign import ROWS, _spec_of
from mscsa.compare.statistics import MIN_SEEDS
from tests.benchmarks.made import row

PROTOCOL = (evidence.ROOT / "benchmarks" / "results" / "PROTOCOL.md").read_text()


def test_the_page_is_what_the_files_say() -> None:
    rows = evidence.load_rows()
    assert rows
    assert evidence.PAGE.read_text() == evidence.page(rows, evidence.load_latency())
    shown = evidence.shown_in_readme(rows)
    assert evidence.readme_table(shown, evidence.load_latency()) in evidence.README.read_text()
    for name in filter(rows.get, evidence.NECK_ROWS):
        assert (evidence.FIGURES / f"evidence_{name}.png").exists()


@pytest.mark.parametrize("name", evidence.load_rows())
def test_a_row_was_run_with_the_settings_of_its_command(name: str) -> None:
    found = evidence.load_rows()[name]
    assert found["seeds"] == list(range(len(found["seeds"])))
    assert MIN_SEEDS <= len(found["seeds"]) <= ROWS[name].seeds
    assert {"baseline", "mscsa"} <= set(found["arms"]) <= set(ROWS[name].arms)
    settings = found["recipes"]["mscsa"]
    for option, value in zip(ROWS[name].options[::2], ROWS[name].options[1::2], strict=True):
        given = found if option == "--block" else settings
        for key in option.removeprefix("--").split("."):
            given = given[key]
        assert given == value_of(value), option
    for arm, fields in (ROWS[name].variants or {}).items():
        changed = found["recipes"][arm]["model"]
        for field, value in fields.items():
            assert (changed if field == "budget" else changed["mscsa"])[field] == value
    assert re.fullmatch(r"[0-9a-f]{40}", found["commit"])


def value_of(text: str) -> object:
    """Read an option as the command line does: YAML 1.1, to which a number such as 3e-4 is text."""
    try:
        return float(text)
    except ValueError:
        return yaml.safe_load(text)


def test_every_row_is_in_the_protocol_and_on_the_page() -> None:
    assert list(evidence.TITLES) == list(ROWS)
    for name in ROWS:
        assert f"| `{name}` |" in PROTOCOL


def test_bold_is_what_interval_and_test_agree_on() -> None:
    base = [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]
    clear = [value + 1 + place / 10 for place, value in enumerate(base)]
    unclear = [value + (-1) ** place for place, value in enumerate(base)]
    table = evidence.summary(
        {"frozen_camvid_long": row(baseline=base, control=unclear, fpn=base, bifpn=unclear, mscsa=clear)}, {}
    )
    assert "| 6 of 10 | 43.75, 42.50 | **+1.25 (+1.12 to +1.38)** |" in table
    of_control = evidence.contrast_of(row(baseline=base, control=unclear, mscsa=clear), "control", "baseline")
    assert of_control.direction == 0 and "**" not in evidence._difference(of_control)


def test_what_is_left_without_the_class_that_gains_most() -> None:
    found = row(baseline=[40.0, 41.0], control=[40.0, 41.0], mscsa=[43.0, 44.0])
    found |= {"classes": ["sky", "road", "sign"], "variants": {}}
    for arm, sign in (("baseline", 10.0), ("control", 20.0), ("mscsa", 40.0)):
        road = 51.0 if arm == "mscsa" else 50.0
        found["arms"][arm]["class_scores"] = {"miou": [[60.0, road, sign + seed] for seed in range(2)]}
    (said,) = evidence._without_the_largest_gain(found, ["baseline", "control"])
    assert said == (
        "mIoU without sign, the class that gains most: +0.50 over baseline, +0.50 over wider head."
    )
    found["variants"] = {"depth_2": "..."}
    assert evidence._without_the_largest_gain(found, ["baseline"]) == []


def test_the_course_of_learning_is_shown_after_each_evaluation() -> None:
    found = row(baseline=[41.0, 42.0], mscsa=[42.0, 44.0])
    for arm, first in (("baseline", 10.0), ("mscsa", 15.0)):
        found["arms"][arm]["curves"] = [[[1.0, first + seed], [2.0, 40.0 + seed]] for seed in range(2)]
    table = evidence._course(found).splitlines()
    assert table[0] == "| mIoU % after epochs | 1 | 2 |"
    assert table[2:] == [
        "| baseline | 10.50 ± 0.71 | 40.50 ± 0.71 |",
        "| MSCSA | 15.50 ± 0.71 | 40.50 ± 0.71 |",
        "| MSCSA minus baseline | +5.00 | +0.00 |",
    ]


def test_what_it_costs_is_beside_what_it_brings() -> None:
    found = row(baseline=[40.0] * 6, control=[40.0] * 6, mscsa=[41.0] * 6)
    found["arms"]["mscsa"]["macs"] = 1_125_000_000
    times = {"arms": {"mscsa": {"median_ms": 6.0}, "baseline": {"median_ms": 5.0}}}
    assert "| +12.5 % MACs |" in evidence.summary({"frozen_camvid_long": found}, {})
    assert "| +12.5 % MACs, x1.20 time |" in evidence.summary(
        {"frozen_camvid_long": found}, {"frozen_camvid_long": times}
    )


def test_models_that_differ_in_their_weights_alone_are_timed_once() -> None:
    recipes = evidence.load_rows()["frozen_camvid_192_starts"]["recipes"]
    assert {"gate_1", "trunc_normal", "fan_in", "mscsa"} < set(recipes)
    assert len({_spec_of(recipe) for arm, recipe in recipes.items() if arm != "baseline"}) == 1
    recipes = evidence.load_rows()["frozen_camvid_192_table_5"]["recipes"]
    assert len({_spec_of(recipe) for recipe in recipes.values()}) == len(recipes)


def test_an_expectation_is_met_where_the_gain_is_large_enough_and_clear() -> None:
    base = [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]
    spread = [0.1 * place for place in range(6)]
    large = [value + 1.6 + more for value, more in zip(base, spread, strict=True)]
    small = [value + 0.9 + more for value, more in zip(base, spread, strict=True)]
    unclear = [value + 9 * (-1) ** place + 3 for place, value in enumerate(base)]
    for mscsa, met in ((large, "yes"), (small, "no"), (unclear, "not decided")):
        told = evidence._expectations({"frozen_camvid_long": row(baseline=base, fpn=base, mscsa=mscsa)})
        lines = [line for line in told.splitlines() if "at least" in line]
        assert [line.rsplit("|", 2)[1].strip() for line in lines][0] == met
        assert "over the best other neck (FPN)" in lines[1]
    for first, second, met in ((large, small, "yes"), (small, large, "no"), (unclear, large, "not decided")):
        compared = evidence._expectations(
            {
                "frozen_camvid": row(baseline=base, mscsa=first),
                "frozen_camvid_long": row(baseline=base, mscsa=second),
            }
        )
        (line,) = [line for line in compared.splitlines() if "than after 300" in line]
        assert line.rsplit("|", 2)[1].strip() == met and "backbone | not run | |" in compared
    assert "`frozen_nuclei`" in told and "`frozen_camvid_long`" not in told


def test_no_difference_is_found_where_the_whole_interval_is_as_small_as_expected() -> None:
    base = [85.0, 85.5, 86.0, 86.5, 87.0, 87.5]
    level = [value + 0.1 * place for place, value in enumerate(base)]
    above, below = ([value + sign * 1.5 for value in level] for sign in (1, -1))
    unclear = [value + 1.5 * (place % 3) for place, value in enumerate(base)]
    for mscsa, met in ((level, "yes"), (above, "no"), (below, "no"), (unclear, "not decided"), (base, "yes")):
        told = evidence._expectations({"finetuned_imagenette": row(baseline=base, mscsa=mscsa)})
        (line,) = [line for line in told.splitlines() if "within 1.0 of the baseline" in line]
        assert line.rsplit("|", 2)[1].strip() == met


def test_a_loss_that_was_expected_has_to_be_clear() -> None:
    base = [85.0, 85.5, 86.0, 86.5, 87.0, 87.5]
    above, below = ([value + sign * (1 + place) for place, value in enumerate(base)] for sign in (1, -1))
    for mscsa, met in ((below, "yes"), (above, "no"), (base, "not decided")):
        told = evidence._expectations({"finetuned_imagenette_tokens": row(baseline=base, mscsa=mscsa)})
        (line,) = [line for line in told.splitlines() if "below the baseline" in line]
        assert line.rsplit("|", 2)[1].strip() == met


def test_the_order_of_a_table_is_decided_by_clear_differences_alone() -> None:
    base = [40.0, 41.0, 42.0, 43.0, 44.0, 45.0]
    above = [value + 1 + place / 10 for place, value in enumerate(base)]
    assert "not decided" in evidence._order_of(row(baseline=base, pcp=base, mscsa=base))
    assert "pcp | in part" in evidence._order_of(row(baseline=base, pcp=base, mscsa=above))
    assert "pcp | no" in evidence._order_of(row(baseline=base, pcp=above, mscsa=base))


def test_runs_of_several_commits_are_told_apart() -> None:
    trained = [{"git_commit": name * 40, "device": "cpu", "torch": "2", "runs": 3} for name in "ab"]
    machine = {"device": "cpu", "versions": {"torch": "2"}}
    found = {"training_environment": machine, "commit": "c" * 40}
    assert evidence._trained_by(found) == "Trained by commit cccccccccc, cpu, torch 2"
    told = evidence._trained_by(found | {"trained_by": trained})
    assert "aaaaaaaaaa (3 runs)" in told and "bbbbbbbbbb (3 runs)" in told
