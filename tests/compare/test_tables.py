"""A comparison laid out."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mscsa.compare.results import verdict
from mscsa.compare.tables import comparison_tables
from mscsa.evaluation.coco_ap import InstanceScores
from mscsa.report import plain_text
from tests.compare.made import BASE, result, write_finished


def test_tables_show_means_spreads_and_differences() -> None:
    compared = result((70.0, 72.0), (71.0, 74.0))
    text = "".join(plain_text(table) for table in comparison_tables(compared))
    assert "71.00 ± 1.41" in text
    assert re.search(r"top-5 \(%\) +91.00 +92.50\n", text)
    assert re.search(r"mscsa - baseline +\+1.50 ± 0.71 +\+1.00 to \+2.00 +0.5 +\+0.10 to \+3.00", text)
    assert re.search(r"\+0.0 % +\+24.0 % +x1.50\n", text)
    assert re.search(r"mscsa_net .* 3.00 +4.25 +400\n", text)
    assert "Latency of mscsa at batch 64 is unstable" in text and "at batch 1 is" not in text
    assert "No control of the same MACs: none." in text
    assert verdict(compared, compared.contrasts[0]) in text


def test_three_arms_and_three_comparisons() -> None:
    compared = replace(result((70.0, 72.0), (71.0, 74.0), (70.5, 72.5)), block=7)
    seeds, scores, arms, contrasts = comparison_tables(compared)
    assert seeds.columns == ("seed", "net", "net, wider head", "mscsa_net", "mscsa - baseline")
    assert seeds.rows[1] == ("1", "72.00", "72.50", "74.00", "+2.00")
    assert len(scores.columns) == 4 and [row[0] for row in arms.rows] == [
        "net",
        "net, wider head",
        "mscsa_net",
    ]
    assert [row[0] for row in contrasts.rows] == ["mscsa - baseline", "mscsa - control", "control - baseline"]
    assert [row[-1] for row in contrasts.rows] == ["x1.50", "x1.00", "x1.50"]
    assert "Control: a wider head." in arms.notes
    assert "in blocks of 7" in contrasts.notes[0]


def test_one_seed_has_no_spread() -> None:
    (_, _, _, contrasts) = comparison_tables(result((70.0,), (71.0,)))
    assert contrasts.rows[0][1:4] == ("+1.00", "-", "1")


def test_json_has_each_seed_and_what_it_was_trained_on(tmp_path: Path) -> None:
    compared = result((70.0, 72.0), (71.0, 74.0), (70.5, 72.5))
    content = json.loads((write_finished(tmp_path, compared) / "compare.json").read_text())
    assert list(content["arms"]) == ["baseline", "control", "mscsa"]
    assert content["arms"]["mscsa"]["scores"] == [71.0, 74.0] and content["arms"]["control"]["mean"] == 71.5
    first = content["comparisons"][0]
    assert (first["of"], first["against"], first["points"]) == ("mscsa", "baseline", [1.0, 2.0])
    assert first["macs_percent"] == pytest.approx(24) and first["p_sign_flip"] == 0.5
    assert first["interval_95_images"] == [0.1, 3.0] and first["interval_95_seeds"] == [1.0, 2.0]
    assert first["verdict"] == content["verdict"]
    assert content["training_environment"]["git_commit"] == "b" * 40
    assert content["trained_by"] == [
        {"git_commit": name * 40, "device": "cpu", "torch": "2", "runs": 2} for name in "bcm"
    ]
    assert content["necks"] == {}
    assert content["recipes"]["control"] == {"name": "scenes/control"}
    assert (content["test_images"], content["block"]) == (2000, 1)
    times = content["latency"][1]["arms"]
    assert times["baseline"]["ratio_to_baseline"] is None and times["control"]["p95_ms"] == 4.25
    assert [each["arms"]["mscsa"]["ratio_to_baseline"]["is_stable"] for each in content["latency"]] == [
        True,
        False,
    ]


def test_any_number_of_necks() -> None:
    necks = {"fpn": (70.2, 72.2), "pafpn": (70.4, 72.6), "bifpn": (70.3, 72.1)}
    compared = result((70.0, 72.0), (71.0, 74.0), (70.5, 72.5), necks=necks)
    seeds, _, arms, contrasts = comparison_tables(compared)
    assert seeds.columns[1:-1] == (
        "net",
        "net, wider head",
        "net + fpn",
        "net + pafpn",
        "net + bifpn",
        "mscsa_net",
    )
    assert [row[0] for row in contrasts.rows] == [
        *("mscsa - baseline", "mscsa - control", "mscsa - fpn", "mscsa - pafpn", "mscsa - bifpn"),
        *("control - baseline", "fpn - baseline", "pafpn - baseline", "bifpn - baseline"),
    ]
    assert "bifpn: channels 8." in arms.notes
    assert any("of each of the 9 differences by itself" in note for note in contrasts.notes)
    assert sum("MSCSA" in note and "No verdict" in note for note in contrasts.notes) == 5


def test_without_latency_there_are_no_columns_of_it() -> None:
    measured = result(BASE, BASE)
    *_, arms, contrasts = comparison_tables(replace(measured, latency=()))
    for table in (arms, contrasts):
        assert {len(row) for row in table.rows} == {len(table.columns)}
        assert not [name for name in table.columns if name.startswith("ms")]
    assert "Latency was not to be measured (--no-latency)." in arms.notes
    assert not [note for note in arms.notes if "interleaved" in note]


def test_variants_are_explained_below_the_table() -> None:
    told = {"single": "single: downsampling single_dwconv; +0.10 % MACs against MSCSA."}
    *_, arms, contrasts = comparison_tables(replace(result(BASE, BASE), variant_notes=told))
    assert "Variants, as MSCSA is but for:" in arms.notes and told["single"] in arms.notes
    assert any("one may look clear by chance" in note for note in contrasts.notes)


def test_what_each_class_gains() -> None:
    compared = result((70.0, 72.0), (71.0, 74.0), (70.5, 72.5))
    scores = {
        "baseline": ((10.0, 50.0, None), (20.0, 50.0, None)),
        "control": ((11.0, 50.0, None), (21.0, None, None)),
        "mscsa": ((9.0, 52.0, 5.0), (20.5, 53.0, 5.0)),
    }
    arms = {name: replace(arm, class_scores={"top1": scores[name]}) for name, arm in compared.arms.items()}
    compared = replace(compared, arms=arms, class_names=("cat", "dog", "emu"))
    (table,) = [each for each in comparison_tables(compared) if "by class" in each.title]
    assert table.columns == ("class", "net", "mscsa - baseline", "mscsa - control")
    assert table.rows == [
        ("dog", "50.00", "+2.50 (2 of 2)", "+2.00 (1 of 1)"),
        ("cat", "15.00", "-0.25 (1 of 2)", "-1.25 (0 of 2)"),
    ]


def test_boxes_and_masks_have_a_table_of_classes_each() -> None:
    compared = result((70.0,), (71.0,))
    labels = {name: InstanceScores.LABELS[name] for name in ("ap", "mask_ap")}
    scores = {"baseline": (40.0, 30.0), "mscsa": (41.0, 32.0)}
    arms = {
        name: replace(
            arm,
            class_scores={"ap": ((scores[name][0],),), "mask_ap": ((scores[name][1],),)},
            other_scores=dict.fromkeys(labels, (None,)),
        )
        for name, arm in compared.arms.items()
    }
    compared = replace(compared, arms=arms, metric="ap", labels=labels, class_names=("cat",))
    tables = [each for each in comparison_tables(compared) if "by class" in each.title]
    assert [(each.title.split(" by")[0], each.rows) for each in tables] == [
        ("box AP", [("cat", "40.00", "+1.00 (1 of 1)")]),
        ("mask AP", [("cat", "30.00", "+2.00 (1 of 1)")]),
    ]


def test_of_many_classes_the_extremes_are_shown() -> None:
    compared = result((70.0,), (71.0,))
    scores = {"baseline": (tuple([50.0] * 30),), "mscsa": (tuple(50.0 + gain for gain in range(30)),)}
    arms = {name: replace(arm, class_scores={"top1": scores[name]}) for name, arm in compared.arms.items()}
    compared = replace(compared, arms=arms, class_names=tuple(f"class {each}" for each in range(30)))
    (table,) = [each for each in comparison_tables(compared) if "by class" in each.title]
    assert [row[0] for row in table.rows] == [
        f"class {each}" for each in (*range(29, 19, -1), *range(9, -1, -1))
    ]
    assert "10 classes between them are in compare.json." in table.notes
