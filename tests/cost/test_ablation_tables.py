"""Tables 4 and 5: ours against figures worked out by hand."""

from __future__ import annotations

import pytest

from mscsa.cost.ablation_tables import ablation_table


@pytest.mark.slow
def test_table_4() -> None:
    rows = ablation_table(4).rows
    assert [row["mscsa_mmacs"] for row in rows] == pytest.approx([52.15, 52.38, 52.84, 55.13], abs=0.005)
    for row in rows:
        assert row["increase_mmacs"] == pytest.approx(row["paper_increase_mmacs"], abs=0.5)


@pytest.mark.slow
def test_table_5() -> None:
    rows = {row["variant"]: row for row in ablation_table(5).rows}
    tokens, width, depthwise = 49, 208, 9
    inner = 4 * 14
    # What the single and the cascaded variant save, per attention layer, four of which there are.
    coarsest = 9 * (width * 3 * inner + depthwise * width + tokens * 3 * inner)
    saved = rows["parallel_dwconv"]["mscsa_mmacs"] - rows["single_dwconv"]["mscsa_mmacs"]
    assert saved == pytest.approx(4 * coarsest / 1e6)
    saved = rows["parallel_dwconv"]["mscsa_mmacs"] - rows["cascaded_dwconv"]["mscsa_mmacs"]
    assert saved == pytest.approx(4 * coarsest * (9 - 4) / 9 / 1e6)
    saved = rows["parallel_dwconv"]["mscsa_mmacs"] - rows["parallel_avgpool"]["mscsa_mmacs"]
    assert saved == pytest.approx(4 * depthwise * width * (16 + 9) / 1e6)
    assert rows["single_dwconv"]["paper_mmacs"] is None
