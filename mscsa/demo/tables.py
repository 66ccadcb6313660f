"""Tables and lines as HTML; all text is escaped, names of uploaded files too."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from mscsa.report import Table


def table_html(table: Table) -> str:
    """Write a table with its title and notes."""
    cells = [
        "".join(_cell("th", i, column, table) for i, column in enumerate(table.columns)),
        *("".join(_cell("td", i, cell, table) for i, cell in enumerate(row)) for row in table.rows),
    ]
    head, *rows = (f"<tr>{line}</tr>" for line in cells)
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    return (
        f'<div class="mscsa-table"><h4>{escape(table.title)}</h4><div><table><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>{notes}</div>"
    )


def tables_html(tables: Iterable[Table]) -> str:
    """Write several tables below each other."""
    return "".join(table_html(table) for table in tables)


def line_html(text: str, *, is_error: bool = False) -> str:
    """Write one line; of an error one that stands out and is read aloud."""
    role = ' role="alert"' if is_error else ""
    return f'<p class="mscsa-{"error" if is_error else "line"}"{role}>{escape(text)}</p>'


def legend_html(legend: Iterable[tuple[str, float, str]]) -> str:
    """Write which colour (#rrggbb) stands for which class, and the class's share."""
    return "".join(
        f'<span class="mscsa-class"><i style="background:{escape(colour)}"></i>{escape(name)} '
        f"{100 * share:.1f} %</span>"
        for name, share, colour in legend
    )


def _cell(tag: str, place: int, text: str, table: Table) -> str:
    is_figure = place >= table.num_text_columns
    return f"<{tag}{' class=figure' if is_figure else ''}>{escape(text)}</{tag}>"
