"""Who may import whom: nothing points up or sideways, and `import mscsa` stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

BUILT = {
    *("mscsa.assembly", "mscsa.attention", "mscsa.checkpoints", "mscsa.detection", "mscsa.errors"),
    *("mscsa.heads", "mscsa.macs", "mscsa.models", "mscsa.names", "mscsa.segmentation"),
}
"""What a look at a built model needs."""

MAY_IMPORT: dict[str, set[str]] = {
    "mscsa.errors": set(),
    "mscsa.names": set(),
    "mscsa.files": {"mscsa.errors"},
    "mscsa.heads": {"mscsa.errors"},
    "mscsa.report": {"mscsa.errors", "mscsa.files"},
    "mscsa.paper": {"mscsa.names"},
    "mscsa.recipes": {
        *("mscsa.errors", "mscsa.heads", "mscsa.names", "mscsa.neck_table", "mscsa.paper"),
    },
    "mscsa.recipes.options": {"mscsa.errors", "mscsa.recipes"},
    "mscsa.attention": set(),
    "mscsa.macs": set(),
    "mscsa.checkpoints": {"mscsa.errors", "mscsa.files"},
    "mscsa.backbones": {"mscsa.attention", "mscsa.errors", "mscsa.names", "mscsa.paper"},
    "mscsa.neck_table": {"mscsa.errors"},
    "mscsa.necks": {"mscsa.attention", "mscsa.backbones", "mscsa.neck_table"},
    "mscsa.models": {
        *("mscsa.attention", "mscsa.backbones", "mscsa.checkpoints", "mscsa.errors", "mscsa.macs"),
        *("mscsa.names", "mscsa.necks", "mscsa.neck_table"),
    },
    "mscsa.dense": {"mscsa.errors", "mscsa.heads", "mscsa.models"},
    "mscsa.detection": {"mscsa.attention", "mscsa.dense", "mscsa.errors", "mscsa.heads", "mscsa.models"},
    "mscsa.segmentation": {
        *("mscsa.attention", "mscsa.backbones", "mscsa.dense", "mscsa.errors", "mscsa.heads"),
        "mscsa.models",
    },
    "mscsa.official": {"mscsa.backbones", "mscsa.checkpoints", "mscsa.errors", "mscsa.segmentation"},
    "mscsa": {
        *("mscsa.attention", "mscsa.checkpoints", "mscsa.detection", "mscsa.errors", "mscsa.models"),
        *("mscsa.official", "mscsa.segmentation"),
    },
    "mscsa.assembly": {
        *("mscsa.attention", "mscsa.backbones", "mscsa.checkpoints", "mscsa.detection", "mscsa.errors"),
        *("mscsa.heads", "mscsa.models", "mscsa.neck_table", "mscsa.recipes", "mscsa.segmentation"),
    },
    "mscsa.data": {"mscsa.errors", "mscsa.recipes"},
    "mscsa.evaluation": {
        *("mscsa.assembly", "mscsa.data", "mscsa.detection", "mscsa.errors", "mscsa.files"),
        *("mscsa.recipes", "mscsa.segmentation"),
    },
    "mscsa.frozen": {
        *("mscsa.assembly", "mscsa.backbones", "mscsa.data", "mscsa.detection", "mscsa.errors"),
        *("mscsa.models", "mscsa.recipes"),
    },
    "mscsa.training": {
        *(
            "mscsa.assembly",
            "mscsa.frozen",
            "mscsa.checkpoints",
            "mscsa.data",
            "mscsa.detection",
            "mscsa.errors",
        ),
        *("mscsa.evaluation", "mscsa.files", "mscsa.models", "mscsa.recipes", "mscsa.segmentation"),
    },
    "mscsa.cost": BUILT
    | {
        *("mscsa.backbones", "mscsa.necks", "mscsa.neck_table", "mscsa.paper", "mscsa.recipes"),
        "mscsa.report",
    },
    "mscsa.speed": BUILT | {"mscsa.cost", "mscsa.report", "mscsa.recipes", "mscsa.backbones"},
    "mscsa.pictures": BUILT
    | {"mscsa.backbones", "mscsa.data", "mscsa.evaluation", "mscsa.report", "mscsa.recipes"},
    "mscsa.compare": {
        *("mscsa.assembly", "mscsa.frozen", "mscsa.cost", "mscsa.data", "mscsa.errors", "mscsa.files"),
        *("mscsa.evaluation", "mscsa.macs", "mscsa.recipes", "mscsa.recipes.options", "mscsa.report"),
        *("mscsa.names", "mscsa.neck_table", "mscsa.pictures", "mscsa.speed", "mscsa.training"),
    },
    "mscsa_cli": {
        *("mscsa", "mscsa.names", "mscsa.recipes.options"),
        *("mscsa.assembly", "mscsa.backbones", "mscsa.compare", "mscsa.cost", "mscsa.data", "mscsa.errors"),
        *("mscsa.evaluation", "mscsa.models", "mscsa.neck_table", "mscsa.pictures", "mscsa.recipes"),
        *("mscsa.report", "mscsa.speed", "mscsa.training"),
    },
}
"""Part -> the other parts it may import, anywhere in its files."""

OTHERS: dict[str, set[str]] = {
    "mscsa.attention": {"torch"},
    "mscsa.macs": {"torch"},
    "mscsa.recipes": set(),
    "mscsa.recipes.options": {"docstring_parser", "jsonargparse", "yaml"},
    "mscsa.errors": set(),
    "mscsa.heads": set(),
    "mscsa.names": set(),
    "mscsa.paper": set(),
    "mscsa.checkpoints": {"torch", "safetensors"},
    "mscsa.backbones": {"torch", "timm", "huggingface_hub"},
    "mscsa.neck_table": set(),
    "mscsa.necks": {"torch", "torchvision"},
    "mscsa.models": {"torch", "timm"},
}
"""Part -> the packages it may import beside the standard library; other parts are not limited."""

ONLY_TRAINING = {"lightning", "pytorch_lightning"}


def source_files() -> list[Path]:
    return [path for folder in ("mscsa", "mscsa_cli") for path in sorted((ROOT / folder).rglob("*.py"))]


def part_of(module: str) -> str:
    """mscsa.attention.config -> mscsa.attention; mscsa.UserError -> mscsa."""
    parts = module.split(".")
    prefixes = (".".join(parts[:length]) for length in range(len(parts), 0, -1))
    return next(prefix for prefix in prefixes if prefix in MAY_IMPORT)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_modules(path: Path) -> set[str]:
    """Full names of all that a file imports, wherever in it."""
    package = module_name(path).split(".")
    if path.name != "__init__.py":
        package = package[:-1]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, node.module] if node.module else base)
            names |= {f"{source}.{alias.name}" for alias in node.names}
    return names


def violations(path: Path) -> list[str]:
    own = part_of(module_name(path))
    found = []
    for name in sorted(imported_modules(path)):
        top = name.split(".")[0]
        if top in ("mscsa", "mscsa_cli"):
            is_allowed = part_of(name) in {own, *MAY_IMPORT[own]}
        elif top in ONLY_TRAINING:
            is_allowed = own == "mscsa.training"
        else:
            is_allowed = own not in OTHERS or top in OTHERS[own] or top in sys.stdlib_module_names
        if not is_allowed:
            found.append(f"{path.relative_to(ROOT)} imports {name}")
    return found


def test_every_part_is_placed():
    modules = {module_name(path) for path in source_files()}
    assert {part_of(module) for module in modules} == set(MAY_IMPORT)
    assert [module for module in modules if part_of(module) == "mscsa"] == ["mscsa"]


@pytest.mark.parametrize("path", source_files(), ids=module_name)
def test_imports_point_down(path):
    assert not violations(path)


def test_no_cycles_between_parts():
    """The table itself must be an order."""
    order = dict(MAY_IMPORT)
    while order:
        free = {part for part, uses in order.items() if not uses & set(order)}
        assert free, f"circular: {sorted(order)}"
        order = {part: uses for part, uses in order.items() if part not in free}


def modules_after(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*sorted(sys.modules))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    return {name.split(".")[0] for name in run.stdout.split()}


def test_importing_the_package_is_light():
    loaded = modules_after("import mscsa, mscsa.evaluation")
    heavy = {
        "lightning",
        "pytorch_lightning",
        "transformers",
        "matplotlib",
        "sklearn",
        "rich",
        "torchmetrics",
    }
    assert not loaded & heavy
    assert {"torch", "timm"} <= loaded


def test_the_command_line_starts_without_torch():
    assert not modules_after("import mscsa_cli") & {"torch", "timm", "mscsa", "lightning", "numpy"}
