"""The house's own rules, read off the source: sizes, names, docstrings, and a test file for each module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from mscsa.heads import HEADS

ROOT = Path(__file__).resolve().parents[1]
MAX_FILE, MAX_FUNCTION, MAX_NESTING = 500, 60, 3
BLOCKS = (ast.For, ast.While, ast.If, ast.With, ast.Try, ast.AsyncFor, ast.AsyncWith)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
DRAWERS = {"utils", "util", "helpers", "common", "misc", "tools", "base2"}


def modules() -> list[Path]:
    return [
        path
        for folder in ("mscsa", "mscsa_cli", "mscsa_runtime")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def functions(tree: ast.AST, prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, FUNCTIONS):
            yield prefix + node.name, node
        yield from functions(node, f"{prefix}{node.name}." if hasattr(node, "name") else prefix)


def nesting(node: ast.AST) -> int:
    """Depth of blocks in a function; `elif` and what a nested function has of its own do not count."""
    deepest = 0
    for child in ast.iter_child_nodes(node):
        if isinstance(child, FUNCTIONS):
            continue
        is_elif = isinstance(node, ast.If) and child in node.orelse and isinstance(child, ast.If)
        deepest = max(deepest, nesting(child) + (isinstance(child, BLOCKS) and not is_elif))
    return deepest


every_module = pytest.mark.parametrize("path", modules(), ids=name_of)
every_source = pytest.mark.parametrize(
    "path", [*modules(), *sorted((ROOT / "benchmarks").rglob("*.py"))], ids=name_of
)


@every_source
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MAX_FILE
    found = {name: (node.end_lineno or 0) - node.lineno + 1 for name, node in functions(ast.parse(text))}
    assert not {name: lines for name, lines in found.items() if lines > MAX_FUNCTION}


@every_source
def test_nesting(path):
    found = {name: nesting(node) for name, node in functions(ast.parse(path.read_text(encoding="utf-8")))}
    assert not {name: depth for name, depth in found.items() if depth > MAX_NESTING}


@every_module
def test_public_definitions_say_what_they_are(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "no module docstring"
    silent = []
    for owner in (tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))):
        for node in owner.body:
            is_public = isinstance(node, (*FUNCTIONS, ast.ClassDef)) and not node.name.startswith("_")
            if is_public and not ast.get_docstring(node) and node.name not in NEED_NO_DOCSTRING:
                silent.append(node.name)
    assert not silent


def surgery_on_names(tree: ast.AST) -> list[str]:
    """What takes names of models apart, or puts them together, in place of `mscsa.names`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            parts: list[ast.expr] = [*node.args] if isinstance(node.func, ast.Attribute) else []
        elif isinstance(node, ast.JoinedStr):
            pairs = zip(node.values, node.values[1:], strict=False)
            parts = [text for text, value in pairs if isinstance(value, ast.FormattedValue)]
        elif isinstance(node, ast.BinOp):
            parts = [node.left]
        else:
            continue
        if any(isinstance(part, ast.Constant) and str(part.value).endswith("mscsa_") for part in parts):
            found.append(ast.unparse(node))
    return found


@pytest.mark.parametrize(
    ("code", "count"),
    [
        ('name.startswith("mscsa_")', 1),
        ('name.removeprefix("mscsa_")', 1),
        ('"mscsa_" + name', 1),
        ('f"mscsa_{name}"', 1),
        ('f"{name} with mscsa_"', 0),
        ('build("mscsa_resnet18")', 0),
    ],
)
def test_surgery_on_names_is_seen(code, count):
    assert len(surgery_on_names(ast.parse(code))) == count


@every_source
def test_names_of_models_are_taken_apart_in_one_place(path):
    if path != ROOT / "mscsa" / "names.py":
        assert not surgery_on_names(ast.parse(path.read_text(encoding="utf-8")))


def kinds_asked_for(tree: ast.AST) -> set[str]:
    """Classes of single heads that a file names, and parts that only some heads have."""
    nodes = list(ast.walk(tree))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    parts = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    parts |= {str(node.value) for node in nodes if isinstance(node, ast.Constant)}
    return names & CLASSES_OF_HEADS | parts & {"roi_heads", "rpn"}


def classes_of_heads() -> set[str]:
    """The classes that the modules of the table's builders define."""
    files = {head.builder.partition(":")[0].replace(".", "/") for head in HEADS.values()}
    trees = [ast.parse((ROOT / f"{file}.py").read_text(encoding="utf-8")) for file in files]
    return {node.name for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}


CLASSES_OF_HEADS = classes_of_heads()


@every_module
def test_nobody_asks_which_head_it_is(path):
    if path.parent.name in ("detection", "segmentation"):
        return
    assert not kinds_asked_for(ast.parse(path.read_text(encoding="utf-8")))


def test_heads_have_classes_to_ask_for():
    assert {"TwoStageNetwork", "RetinaNetNetwork", "DeformableDETR", "TopFormerHead"} <= CLASSES_OF_HEADS
    assert kinds_asked_for(ast.parse("isinstance(head, TopFormerHead)")) == {"TopFormerHead"}
    assert kinds_asked_for(ast.parse('hasattr(net, "roi_heads") or net.rpn')) == {"roi_heads", "rpn"}


NEED_NO_DOCSTRING = {"forward", "extra_repr"}
"""What torch defines: the class says what its forward does, where it does not need arguments explained."""


@every_module
def test_names_say_what_is_in_a_module(path):
    assert not DRAWERS & set(name_of(path).split("."))


@every_module
def test_a_test_file_of_its_name(path):
    if path.name in ("__init__.py", "__main__.py"):
        return
    folder = path.relative_to(ROOT).parent
    beside = {Path("mscsa_cli"): Path("cli"), Path("mscsa_runtime"): Path("runtime")}
    mirrored = beside.get(folder) or folder.relative_to("mscsa")
    test = ROOT / "tests" / mirrored / f"test_{path.name}"
    assert test.is_file(), f"{test.relative_to(ROOT)} is missing"
    tree = ast.parse(test.read_text(encoding="utf-8"))
    # A class of tests counts, what is written inside another function does not.
    owners = [tree, *(node for node in tree.body if isinstance(node, ast.ClassDef))]
    names = [node.name for owner in owners for node in owner.body if isinstance(node, FUNCTIONS)]
    assert any(name.startswith("test_") for name in names), f"{test.relative_to(ROOT)} has no test"


def bases_of_classes() -> dict[str, list[str]]:
    """The bases of each class here, all by their full names, as far as the file's imports tell them."""
    bases = {}
    for path in modules():
        module, tree = name_of(path), ast.parse(path.read_text(encoding="utf-8"))
        classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
        known = {node.name: f"{module}.{node.name}" for node in classes}
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                package = module.rsplit(".", node.level)[0] if node.level else ""
                source = ".".join(filter(None, (package, node.module)))
                known |= {alias.asname or alias.name: f"{source}.{alias.name}" for alias in node.names}
        for node in classes:
            written = [ast.unparse(base).partition("[")[0].split(".") for base in node.bases]
            bases[known[node.name]] = [".".join([known.get(name, name), *rest]) for name, *rest in written]
    return bases


def test_no_class_stands_on_more_than_one_of_ours():
    """A reader of a class needs one other file at most: what a base of ours stands on is not ours."""
    bases = bases_of_classes()
    assert "mscsa.errors.UserError" in bases["mscsa.errors.UnknownKeyword"]
    deep = {
        name: base
        for name, above in bases.items()
        for base in above
        if any(each in bases for each in bases.get(base, ()))
    }
    assert not deep
