"""Results for people and for programs: tables on a terminal, aligned text in a pipe, JSON in a file."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAVY
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from mscsa.files import write_text


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of text under a title."""

    title: str
    columns: tuple[str, ...]
    """Headings, with units."""
    rows: Sequence[Sequence[str]]
    num_text_columns: int = 1
    """The first columns hold text and are aligned left; the others hold figures, aligned right."""
    notes: tuple[str, ...] = ()
    """Lines below it."""


def show(*tables: Table, console: Console | None = None) -> None:
    """Print tables: drawn on a terminal, aligned plain text of any width otherwise."""
    console = console or Console()
    for position, table in enumerate(tables):
        if position:
            console.print()
        if console.is_terminal:
            console.print(_drawn(table))
            for note in table.notes:
                console.print(Text(note))
        else:
            console.file.write(plain_text(table))


def plain_text(table: Table) -> str:
    """Align a table with spaces, a column as wide as its widest cell."""
    lines = [table.columns, *table.rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(table.columns))]
    text = [table.title]
    for line in lines:
        cells = [
            cell.ljust(width) if i < table.num_text_columns else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        text.append("  ".join(cells).rstrip())
    return "\n".join([*text, *table.notes]) + "\n"


def percent_more(value: float, reference: float) -> str:
    """Format how much larger `value` is, as "+10.4 %"."""
    return f"{100 * (value / reference - 1):+.1f} %"


def write_json(path: str | Path, content: Any) -> None:
    """Write `content` as JSON; the file appears whole or not at all.

    Raises:
        UserError: If the folder cannot be written to.
    """
    write_text(path, json.dumps(content, indent=2) + "\n")


def _drawn(table: Table) -> RichTable:
    drawn = RichTable(title=table.title, title_justify="left", title_style="bold", box=SIMPLE_HEAVY)
    for i, column in enumerate(table.columns):
        drawn.add_column(
            Text(column),
            justify="left" if i < table.num_text_columns else "right",
            overflow="fold",
            no_wrap=i == 0,
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    return drawn
