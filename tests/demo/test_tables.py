"""Tables and lines as HTML."""

from __future__ import annotations

from html.parser import HTMLParser

from mscsa.demo.tables import legend_html, line_html, table_html, tables_html
from mscsa.report import Table

TABLE = Table(title="T", columns=("name", "size"), rows=[("<b>a</b>", "1"), ("b", "2")], notes=("<i>",))


class Cells(HTMLParser):
    """The texts of cells, and their classes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.cells: list[tuple[str, bool, str]] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag in ("td", "th"):
            self.cells.append((tag, ("class", "figure") in attrs, ""))

    def handle_data(self, data: str) -> None:
        if self.tags[-1] in ("td", "th") and self.cells:
            tag, is_figure, text = self.cells[-1]
            self.cells[-1] = tag, is_figure, text + data


def test_cells_are_where_they_were_and_text_is_no_markup() -> None:
    found = Cells(table_html(TABLE))
    assert found.cells[:4] == [
        ("th", False, "name"),
        ("th", True, "size"),
        ("td", False, "<b>a</b>"),
        ("td", True, "1"),
    ]
    assert not {"b", "i"} & set(found.tags)
    assert "&lt;i&gt;" in table_html(TABLE)
    assert tables_html([TABLE, TABLE]) == 2 * table_html(TABLE)


def test_colours_stand_beside_their_classes() -> None:
    assert legend_html([("a&b", 0.25, "#0102ff")]) == (
        '<span class="mscsa-class"><i style="background:#0102ff"></i>a&amp;b 25.0 %</span>'
    )


def test_a_files_name_is_no_markup() -> None:
    assert line_html("<img src=x>.png") == '<p class="mscsa-line">&lt;img src=x&gt;.png</p>'
    assert line_html("a", is_error=True) == '<p class="mscsa-error" role="alert">a</p>'
