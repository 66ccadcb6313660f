"""Who may import whom: nothing points up or sideways, and `import mscsa` stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def parts(names: str) -> set[str]:
    """Write out the full names of parts of the package."""
    return {f"mscsa.{name}" for name in names.split()}


MAY_IMPORT: dict[str, set[str]] = {
    "mscsa.errors": {"mscsa_runtime"},
    "mscsa.names": parts("errors"),
    "mscsa.modes": set(),
    "mscsa.skeletons": set(),
    "mscsa.macs": parts("skeletons"),
    "mscsa.graphs": set(),
    "mscsa_runtime": set(),
    "mscsa.files": parts("errors"),
    "mscsa.progress": set(),
    "mscsa.commit": set(),
    "mscsa.run_files": set(),
    "mscsa.signals": set(),
    "mscsa.full_memory": set(),
    "mscsa.heads": parts("errors"),
    "mscsa.report": parts("files"),
    "mscsa.paper": parts("names"),
    "mscsa.recipes": parts("errors heads names neck_table paper"),
    "mscsa.recipes.options": parts("errors recipes"),
    "mscsa.attention": set(),
    "mscsa.checkpoints": parts("attention errors files run_files skeletons"),
    "mscsa.backbones": parts("attention errors modes names paper skeletons"),
    "mscsa.neck_table": parts("errors"),
    "mscsa.necks": parts("attention backbones neck_table"),
    "mscsa.models": {"mscsa_runtime"}
    | parts("attention backbones checkpoints errors macs names neck_table necks skeletons"),
    "mscsa.folding": parts("attention models"),
    "mscsa.dense": parts("errors heads models"),
    "mscsa.detection": parts("attention dense errors graphs heads models"),
    "mscsa.segmentation": parts("attention backbones dense errors graphs heads models"),
    "mscsa.official": parts("backbones checkpoints errors segmentation"),
    "mscsa": parts("attention checkpoints detection errors folding models official segmentation"),
    "mscsa.assembly": parts(
        "attention backbones checkpoints detection errors heads models modes neck_table recipes run_files "
        "segmentation"
    ),
    "mscsa.data": {"mscsa_runtime"} | parts("errors files progress recipes"),
    "mscsa.evaluation": parts(
        "assembly data detection errors files folding modes progress recipes segmentation"
    ),
    "mscsa.frozen": parts(
        "assembly backbones checkpoints data detection errors evaluation models names progress recipes"
    ),
    "mscsa.training": {"mscsa_runtime"}
    | parts(
        "assembly checkpoints commit data detection errors evaluation files folding frozen full_memory heads "
        "macs names progress recipes run_files signals"
    ),
    "mscsa.cost": parts(
        "assembly attention backbones detection errors heads macs models names neck_table necks paper "
        "recipes report segmentation"
    ),
    "mscsa.speed": {"mscsa_runtime"} | parts("cost detection errors folding progress report"),
    "mscsa.pictures": parts(
        "assembly attention backbones data detection errors evaluation models names recipes report"
    ),
    "mscsa.compare": {"mscsa_runtime"}
    | parts(
        "assembly cost data errors evaluation files frozen macs names neck_table pictures recipes "
        "recipes.options report run_files speed"
    ),
    "mscsa.export": {"mscsa_runtime"}
    | parts("assembly data detection errors evaluation folding graphs recipes segmentation"),
    "mscsa.hub": parts(
        "assembly backbones checkpoints cost errors evaluation files heads macs names recipes report "
        "run_files"
    ),
    "mscsa.demo": {"mscsa_runtime"}
    | parts(
        "assembly backbones compare cost data errors evaluation folding heads macs names neck_table pictures "
        "recipes report run_files"
    ),
    "mscsa_cli": {"mscsa", "mscsa_runtime"}
    | parts(
        "assembly backbones compare cost data demo errors evaluation export full_memory hub models names "
        "neck_table pictures progress recipes recipes.options report run_files signals speed training"
    ),
}
"""Part -> the other parts it may import, anywhere in its files."""

OTHERS: dict[str, set[str]] = {
    "mscsa.attention": {"torch"},
    "mscsa_runtime": {"numpy", "PIL", "onnxruntime", "openvino", "torch", "torchvision"},
    "mscsa.macs": {"torch"},
    "mscsa.graphs": {"torch"},
    "mscsa.full_memory": {"torch"},
    "mscsa.modes": {"torch"},
    "mscsa.skeletons": {"torch"},
    "mscsa.files": set(),
    "mscsa.progress": {"rich"},
    "mscsa.report": {"rich"},
    "mscsa.commit": set(),
    "mscsa.run_files": set(),
    "mscsa.signals": set(),
    "mscsa.recipes": set(),
    "mscsa.recipes.options": {"jsonargparse", "yaml"},
    "mscsa.errors": set(),
    "mscsa.heads": set(),
    "mscsa.names": set(),
    "mscsa.paper": set(),
    "mscsa.checkpoints": {"torch", "safetensors", "timm"},
    "mscsa.backbones": {"torch", "timm", "huggingface_hub"},
    "mscsa.neck_table": set(),
    "mscsa.necks": {"torch"},
    "mscsa.models": {"torch", "timm"},
}
"""Part -> the packages it may import beside the standard library; other parts are not limited."""

OURS = ("mscsa", "mscsa_cli", "mscsa_runtime")

ONLY_TRAINING = {"lightning", "pytorch_lightning"}


def source_files() -> list[Path]:
    return [
        path
        for folder in ("mscsa", "mscsa_cli", "mscsa_runtime")
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def part_of(module: str) -> str:
    """mscsa.attention.config -> mscsa.attention; mscsa.UserError -> mscsa."""
    names = module.split(".")
    prefixes = (".".join(names[:length]) for length in range(len(names), 0, -1))
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
        if top in OURS:
            is_allowed = part_of(name) in {own, *MAY_IMPORT[own]}
        elif top in ONLY_TRAINING:
            is_allowed = own == "mscsa.training"
        else:
            is_allowed = own not in OTHERS or top in OTHERS[own] or top in sys.stdlib_module_names
        if not is_allowed:
            found.append(f"{path.relative_to(ROOT)} imports {name}")
    return found


def others_imported(part: str) -> set[str]:
    """What a part's files import from outside it: other parts, and packages beside the standard library."""
    files = [path for path in source_files() if part_of(module_name(path)) == part]
    names = {name for path in files for name in imported_modules(path)}
    ours = {name for name in names if name.split(".")[0] in OURS}
    packages = {name.split(".")[0] for name in names - ours}
    return {part_of(name) for name in ours} - {part} | packages - sys.stdlib_module_names


@pytest.mark.parametrize("part", MAY_IMPORT)
def test_nothing_is_allowed_that_nobody_needs(part):
    assert not (MAY_IMPORT[part] | OTHERS.get(part, set())) - others_imported(part)


def drawn_order() -> list[set[str]]:
    """The chain of parts that CONTRIBUTING draws, top first."""
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").split())
    chain = re.search(r"`(mscsa_cli → [^`]*)`", text)
    assert chain
    steps = [re.findall(r"\w+", step.replace(".py", "")) for step in chain[1].split("→")]
    return [
        {name if name in ("mscsa_cli", "mscsa_runtime") else f"mscsa.{name}" for name in step}
        for step in steps
    ]


def test_the_drawn_order_is_that_of_the_table():
    height = {part: -step for step, names in enumerate(drawn_order()) for part in names}
    assert set(height) <= set(MAY_IMPORT)
    up = [(p, q) for p in height for q in MAY_IMPORT[p] if q in height and height[q] >= height[p]]
    assert not up
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    beside = {part.removeprefix("mscsa.").replace(".", "/") for part in MAY_IMPORT} - {"mscsa"}
    beside -= {part.removeprefix("mscsa.") for part in height}
    assert not [name for name in beside if f"`{name}.py`" not in text and f"`{name}/`" not in text]


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
    """And asks no network: there a connection would be a call of None."""
    loaded = modules_after("import socket; socket.socket.connect = None; import mscsa, mscsa.evaluation")
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


def test_exported_models_are_run_without_torch():
    loaded = modules_after("import mscsa_runtime, mscsa_runtime.backends")
    assert "numpy" in loaded and not loaded & {"torch", "torchvision", "timm", "mscsa"}


def test_the_command_line_starts_without_torch():
    assert not modules_after("import mscsa_cli") & {"torch", "timm", "mscsa", "lightning", "numpy"}
