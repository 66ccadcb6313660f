"""Text files that people and their tools write: lists, tables and names, whatever editor saved them."""

from __future__ import annotations

import codecs
import csv
import unicodedata
from pathlib import Path

from mscsa.errors import UserError
from mscsa_runtime.errors import Unusable

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


def decoded(content: bytes) -> str:
    """Decode a text: UTF-8, or UTF-16 by its mark, as Windows' shell and Excel write it.

    The mark is left out. Other encodings have no mark, so that a guess may make names wrong.

    Raises:
        Unusable: If it is in neither.
    """
    encoding = "utf-16" if content.startswith(_UTF16) else "utf-8-sig"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise Unusable("begins as UTF-16 does, and is damaged", "save it as UTF-8") from error
        line = content.count(b"\n", 0, error.start) + 1
        raise Unusable(f"line {line} is not in UTF-8", "save it as UTF-8") from error


def composed(name: str) -> str:
    """Write a name with composed letters, by which it is compared: macOS and its archives take them apart."""
    return unicodedata.normalize("NFC", name)


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        UserError: If it cannot be read, or is in no encoding that is known.
    """
    try:
        return decoded(path.read_bytes())
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise UserError(f"{path} cannot be read ({reason}): check its permissions") from error
    except Unusable as bad:
        raise UserError(f"{path} cannot be read: {bad.what}; {bad.remedy}") from bad


def csv_rows(text: str) -> list[tuple[int, list[str]]]:
    """Read a table of cells between commas, semicolons or tabs, whichever its first line has most of.

    Returns:
        Of each row that is not blank the number of its last line and its cells, without blanks around them.
    """
    first = text.partition("\n")[0]
    separator = max((",", ";", "\t"), key=first.count)
    limit = csv.field_size_limit(max(len(text), 1))  # a column of no concern here may be of any length
    try:
        reader = csv.reader(text.splitlines(), delimiter=separator)
        rows = [(reader.line_num, [cell.strip() for cell in row]) for row in reader]
    finally:
        csv.field_size_limit(limit)
    return [(line, row) for line, row in rows if any(row)]
