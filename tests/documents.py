"""The fenced blocks of the documents: what is read off them, and how each kind is run."""

from __future__ import annotations

import ast
import fnmatch
import re
import shlex
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = [ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "THIRD_PARTY_NOTICES")]
DOCUMENTS += [ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)
_INLINE = re.compile(r"(?<!`)`(mscsa [a-z][^`\n]*)`")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    document: Path
    line: int
    """Of its first line of text."""
    language: str
    text: str
    mark: str
    """What the HTML comment on the line before says."""

    @property
    def name(self) -> str:
        return f"{self.document.relative_to(ROOT)}:{self.line}"

    @property
    def is_left_out(self) -> bool:
        """Whether the comment before says why it cannot be run."""
        return self.mark.startswith("not run: ")

    @property
    def commands(self) -> list[list[str]]:
        """The command lines of shell."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [words for line in lines if (words := shlex.split(line, comments=True))]

    @property
    def session(self) -> list[tuple[list[str], str]]:
        """Of a console: each command, and what it prints."""
        parts = re.split(r"^\$ ", self.text, flags=re.MULTILINE)[1:]
        return [(shlex.split(head), out.strip()) for head, _, out in (part.partition("\n") for part in parts)]


def blocks_of(document: Path) -> list[Block]:
    """All fenced blocks of a document, directives (of the site) among them."""
    text = document.read_text(encoding="utf-8")
    return [
        Block(
            document,
            text.count("\n", 0, match.start("text")) + 1,
            match["language"].strip(),
            textwrap.dedent(match["text"]),
            match["mark"] or "",
        )
        for match in _FENCE.finditer(text)
    ]


def inline_commands(document: Path) -> list[list[str]]:
    """`mscsa ...` in running text and tables."""
    text = _FENCE.sub("", document.read_text(encoding="utf-8"))
    return [shlex.split(found) for found in _INLINE.findall(text)]


def run_python(block: Block, namespace: dict[str, Any]) -> None:
    """Execute a block; a line `expression  # literal` must give that literal.

    Raises:
        AssertionError: If it gives another.
    """
    source = "\n" * (block.line - 1) + block.text
    for node in ast.parse(source).body:
        code = compile(ast.Module([node], []), block.name, "exec")
        said = block.text.splitlines()[(node.end_lineno or 0) - block.line]
        expected = _literal(said.rpartition("  # ")[2]) if isinstance(node, ast.Expr) else None
        if expected is None:
            exec(code, namespace)
        else:
            assert isinstance(node, ast.Expr)
            value = eval(compile(ast.Expression(node.value), block.name, "eval"), namespace)
            given = tuple(value) if isinstance(expected, tuple) else value
            assert given == expected, f"{block.name}: {said.strip()} gives {value}"


def _literal(comment: str) -> Any:
    """The literal that a comment begins with, up to a colon or its end; None for words."""
    try:
        return ast.literal_eval(comment.partition(": ")[0].strip())
    except (ValueError, SyntaxError):
        return None


def agrees(printed: str, said: str) -> bool:
    """Whether what a command printed is what a document says; `...` stands for anything."""
    pattern = "*".join(map(_escape, said.split("...")))
    return fnmatch.fnmatchcase(printed.strip(), pattern)


def _escape(text: str) -> str:
    return re.sub(r"([*?[])", r"[\1]", text)
