"""The paper's figures: as typed in a second time, and nowhere else in the package."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import mscsa
from mscsa import paper
from mscsa.paper import PairRow
from tests.paper_tables import lines_of

PACKAGE = Path(mscsa.__file__).parent
ORIGINS = {"": "public", "r": "re-trained", "t": "trained"}


def number(text: str) -> float | None:
    return float(text) if text else None


def flat(rows: tuple[Any, ...], column: str) -> list[float | None]:
    """Give one figure of pairs of rows, without and with MSCSA one after the other."""
    return [value for row in rows for value in (getattr(row, column) or (None, None))]


def test_table_1() -> None:
    ours = [(row.name.lower().replace("-", "_"), row.gmacs, row.percent) for row in paper.TABLE_1]
    theirs = [(line["component"], float(line["gmacs"]), float(line["percent"])) for line in lines_of(1)]
    assert ours == theirs


@pytest.mark.parametrize(
    ("table", "rows", "names", "columns"),
    [
        (2, paper.TABLE_2, ("detector", "backbone"), {"gmacs": "gmacs", "box_ap": "c1"}),
        (3, paper.TABLE_3, ("head", "backbone"), {"gmacs": "gmacs", "miou": "miou"}),
        (6, paper.TABLE_6, ("model",), {"gmacs": "gmacs", "top1": "top1"}),
    ],
)
def test_tables_of_pairs(
    table: int, rows: tuple[PairRow, ...], names: tuple[str, ...], columns: dict[str, str]
) -> None:
    lines = lines_of(table)
    own = {"detector": "head", "head": "head", "backbone": "backbone", "model": "backbone"}
    for name in names:
        assert [getattr(row, own[name]) for row in rows for _ in (0, 1)] == [line[name] for line in lines]
    for ours, theirs in columns.items():
        assert flat(rows, ours) == [number(line[theirs]) for line in lines]
    assert [row.origin for row in rows] == [ORIGINS[line["mark"]] for line in lines[::2]]
    assert [line["mscsa"] for line in lines] == ["0", "1"] * len(rows)


def test_masks_of_table_2() -> None:
    """RetinaNet and Deformable DETR have none; their fourth column is another figure."""
    with_masks = [line for line in lines_of(2) if "mask" in line["detector"]]
    assert flat(paper.TABLE_2, "mask_ap") == [float(line["c4"]) for line in with_masks] + [None] * 4


def test_table_4() -> None:
    ours = [(row.name, row.mmacs, row.top1) for row in paper.TABLE_4]
    assert ours == [(x["setting"], float(x["mmacs"]), float(x["top1"])) for x in lines_of(4)]


def test_table_5() -> None:
    ours = [(row.name, row.top1) for row in paper.TABLE_5]
    assert ours == [(line["variant"], float(line["top1"])) for line in lines_of(5)]
    assert [row.mmacs for row in paper.TABLE_5] == [paper.TABLE_4[-1].mmacs, None, None, None]


def test_table_7() -> None:
    columns = {
        **{"pool_stride": "pool", "dense_pool_stride": "pool_dense", "squeeze_ratio": "squeeze"},
        **{"depth": "depth", "num_heads": "heads", "head_dim": "head_dim", "mlp_ratio": "mlp_ratio"},
    }
    lines = lines_of(7)
    assert [row.backbone for row in paper.TABLE_7] == [line["backbone"] for line in lines]
    for row, line in zip(paper.TABLE_7, lines, strict=True):
        theirs = {ours: float(line[column]) for ours, column in columns.items()}
        if row.backbone == "topformer_base":
            theirs["mlp_ratio"] = 5  # as printed; the table typed in has what its cost says
        assert {name: getattr(row, name) for name in columns} == theirs, row.backbone


def test_names_of_both_rows() -> None:
    row = next(row for row in paper.TABLE_6 if row.backbone == "coat_tiny")
    assert row.model_name(with_mscsa=False) == "coat_tiny"
    assert row.model_name(with_mscsa=True) == "mscsa_coat_tiny"


def scores() -> set[float]:
    """All printed accuracies; each is too odd a number to stand for anything else."""
    pairs = [*flat(paper.TABLE_6, "top1"), *flat(paper.TABLE_3, "miou"), *flat(paper.TABLE_2, "box_ap")]
    pairs += [*flat(paper.TABLE_2, "mask_ap"), *(row.top1 for row in (*paper.TABLE_4, *paper.TABLE_5))]
    return {score for score in pairs if score is not None and score != round(score)}


def test_no_score_of_the_paper_stands_elsewhere_in_the_package() -> None:
    known = scores()
    assert len(known) > 50
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {node.value}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != PACKAGE / "paper.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, float) and node.value in known
    ]
    assert not found
