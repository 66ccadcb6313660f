"""Latency of one model in torch, eager and compiled, in ONNX Runtime and in OpenVINO, norms folded and not.

All forms of a model are timed in turn in one process, with one thread, and must give the same. Weights are
untrained: time does not depend on them. Writes the file after each model, and at the end the table in
docs/export.md; run from the repository's root:

    python benchmarks/export_latency.py
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mscsa.assembly.build import build_model
from mscsa.export.formats import FORMATS
from mscsa.export.graphs import build_graphs
from mscsa.export.programs import trace
from mscsa.files import write_text
from mscsa.folding import fold_norms
from mscsa.graphs import Graphs, Size, random_images
from mscsa.recipes.spec import ModelSpec
from mscsa.report import write_json
from mscsa.speed.interleaved import summarize, time_interleaved
from mscsa.speed.machine import describe_machine
from mscsa.speed.steps import StepOptions
from mscsa_runtime import Artifact, Metadata
from mscsa_runtime.metadata import Sizes

ROOT = Path(__file__).resolve().parents[1]
FILE = ROOT / "benchmarks" / "results" / "export_latency.json"
PAGE = ROOT / "docs" / "export.md"
MARKS = ("<!-- the table of benchmarks/export_latency.py -->", "<!-- its end -->")

MODELS: dict[str, tuple[ModelSpec, Size]] = {
    "classifier": (ModelSpec(name="mscsa_resnet18"), (224, 224)),
}
NUM_CLASSES = 19
RUNTIMES = {
    "torch": "torch, eager",
    "compiled": "torch.compile",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
}
NORMS = ("as they are", "folded")
TOLERANCE = 1e-3
"""Greatest difference of a form from the first, as a share of the largest value."""

Form = Callable[[], NDArray[np.float32]]


def form_name(runtime: str, norms: str) -> str:
    """Name a form in the file."""
    return f"{runtime}, norms {norms}"


def forms_of(spec: ModelSpec, size: Size, folder: Path) -> dict[str, Form]:
    """Build a model and give a function for each of its forms, which answer about the same image."""
    torch.manual_seed(0)
    model = build_model(spec, NUM_CLASSES).eval()
    (images,) = random_images(1, size)
    forms: dict[str, Form] = {}
    for norms, each in zip(NORMS, (model, fold_norms(model)), strict=True):
        graphs = build_graphs(each, size)
        (graph,) = graphs.graphs
        compiled: Any = torch.compile(graph.module, dynamic=False)
        forms[form_name("torch", norms)] = partial(_call, graph.module, images)
        forms[form_name("compiled", norms)] = partial(_call, compiled, images)
        for artifact in artifacts_of(graphs, size, folder / norms):
            name = form_name(artifact.metadata.identity, norms)
            forms[name] = partial(_run, artifact, images.numpy())
    return forms


def artifacts_of(graphs: Graphs, size: Size, folder: Path) -> list[Artifact]:
    """Export a model of one file for one size to ONNX and OpenVINO, each opened with one thread."""
    (graph,) = graphs.graphs
    program = trace(graph, size, step=None)
    folder.mkdir()
    found = []
    for format in ("onnx", "openvino"):
        path = folder / f"{graph.name}{FORMATS[format].ending}"
        metadata = Metadata(
            task="pyramid",
            parts=(path.name,),
            identity=format,
            sizes=Sizes(height=size[0], width=size[1]),
            outputs=graph.outputs,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        )
        FORMATS[format].call("write", program, graph, path, metadata.to_json())
        found.append(Artifact(path, threads=1))
    return found


def _call(module: nn.Module, images: torch.Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        found: NDArray[np.float32] = module(images).numpy()
    return found


def _run(artifact: Artifact, images: NDArray[np.float32]) -> NDArray[np.float32]:
    return artifact.run(images)["logits"]


def measure(forms: Mapping[str, Form], rounds: int) -> dict[str, dict[str, Any]]:
    """Check that all forms give the same, and time them in turn.

    Returns:
        By form: `p50_ms`, `p95_ms`; `share`, its time as a share of the first form's, the median over the
        rounds, and `share_range`, that of the smallest and of the largest round.
    """
    first, *others = (np.array(form()) for form in forms.values())
    for name, other in zip(list(forms)[1:], others, strict=True):
        difference = float(np.abs(other - first).max() / np.abs(first).max())
        if not difference <= TOLERANCE:
            raise ValueError(f"{name} differs by {difference:.2g}")
    steps = [partial(_discard, form) for form in forms.values()]
    found = summarize(time_interleaved(steps, rounds, lambda: None, time.process_time), "inference", 1)
    shares = [(1.0, (1.0, 1.0)), *((ratio.median, ratio.range) for ratio in found.ratios)]
    return {
        name: {"p50_ms": timing.median_ms, "p95_ms": timing.p95_ms, "share": share, "share_range": of_rounds}
        for name, timing, (share, of_rounds) in zip(forms, found.timings, shares, strict=True)
    }


def _discard(form: Form) -> None:
    form()


def table(result: Mapping[str, Any]) -> str:
    """Make the page's table of the file's content: milliseconds at the median and, in brackets, at p95."""
    models = result["models"]
    heads = [f"{name}, norms {norms}" for name in models for norms in NORMS]
    lines = [f"| | {' | '.join(heads)} |", f"| --- |{' ---: |' * len(heads)}"]
    for runtime, title in RUNTIMES.items():
        cells = [
            "{p50_ms:.1f} ({p95_ms:.1f})".format(**models[name]["forms"][form_name(runtime, norms)])
            for name in models
            for norms in NORMS
        ]
        lines.append(f"| {title} | {' | '.join(cells)} |")
    machine = result["machine"]
    versions = ", ".join(f"{name} {machine['versions'][name]}" for name in PACKAGES)
    names = ", ".join(f"{name} {models[name]['model']['name']}" for name in models)
    note = (
        f"Milliseconds, the median and in brackets p95; {names}; 224 px, batch 1, float32, "
        f"{result['clock']}, {machine['device_name']}, {result['shared']} "
        f"(load {machine['load_average']:.1f} at the start), {result['rounds']} rounds in turn in one "
        f"process; {versions}."
    )
    return "\n".join([*lines, "", note])


PACKAGES = ("torch", "onnxruntime", "openvino")


def on_page(page: str, result: Mapping[str, Any]) -> str:
    """Put the table between its marks in the text of the page."""
    before, rest = page.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{table(result)}\n\n{MARKS[1]}{after}"


def machine_now() -> dict[str, Any]:
    """Say what is measured on, without what differs between the forms."""
    import onnxruntime
    import openvino

    known = describe_machine(StepOptions())
    known["versions"] |= {"onnxruntime": onnxruntime.__version__, "openvino": openvino.__version__}
    return {key: value for key, value in known.items() if key not in ("folded", "compiled")}


def main() -> None:
    """Measure, and write the file and the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", default=str(FILE))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {
        "machine": machine_now(),
        "shared": "cores shared with other work",
        "clock": "CPU time of one thread",
        "rounds": arguments.rounds,
        "models": {},
    }
    for name, (spec, size) in MODELS.items():
        with tempfile.TemporaryDirectory() as folder:
            forms = measure(forms_of(spec, size, Path(folder)), arguments.rounds)
        result["models"][name] = {"model": asdict(spec), "size": size, "batch_size": 1, "forms": forms}
        write_json(arguments.json, result)
    written = json.loads(Path(arguments.json).read_text(encoding="utf-8"))
    write_text(PAGE, on_page(PAGE.read_text(encoding="utf-8"), written))
    print(table(written))


if __name__ == "__main__":
    main()
