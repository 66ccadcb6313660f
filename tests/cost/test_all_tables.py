"""The paper's cost tables by number."""

from __future__ import annotations

import pytest

from mscsa.cost.all_tables import TABLES, paper_table
from mscsa.cost.paper_table import PaperTable
from mscsa.errors import UserError
from mscsa.report import Table


def test_all_seven_are_there() -> None:
    assert list(TABLES) == [str(number) for number in range(1, 8)]


def test_a_table_is_made_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    made = PaperTable(table=Table(title="t", columns=("a",), rows=[]), rows=[])
    monkeypatch.setitem(TABLES, "5", lambda: made)
    assert paper_table("5") is made


def test_unknown_table() -> None:
    with pytest.raises(UserError, match="give one of 1, 2, 3, 4, 5, 6, 7"):
        paper_table("8")
