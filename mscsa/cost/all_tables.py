"""The paper's cost tables beside ours, by their numbers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from mscsa.cost.ablation_tables import ablation_table
from mscsa.cost.classifier_tables import classifier_table, component_table, configuration_table
from mscsa.cost.dense_tables import detector_table, segmenter_table
from mscsa.cost.paper_table import PaperTable
from mscsa.errors import UserError

TABLES: dict[str, Callable[[], PaperTable]] = {
    "1": component_table,
    "2": detector_table,
    "3": segmenter_table,
    "4": partial(ablation_table, 4),
    "5": partial(ablation_table, 5),
    "6": classifier_table,
    "7": configuration_table,
}
"""Number in the paper -> what makes it."""


def paper_table(number: str) -> PaperTable:
    """Make one of `TABLES`.

    Raises:
        UserError: If there is none of this number.
    """
    if number not in TABLES:
        raise UserError(f"table {number!r} is not there: give one of {', '.join(TABLES)}")
    return TABLES[number]()
