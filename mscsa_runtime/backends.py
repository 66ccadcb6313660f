"""Running one exported file in its own runtime; torch is imported for `torch.export`'s files alone."""

from __future__ import annotations

import threading
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.metadata import KEY

Run = Callable[[Mapping[str, NDArray[Any]]], list[NDArray[Any]]]
"""Inputs by name, in the order in which the file was made with them, to the outputs in their order."""


@dataclass(frozen=True)
class Opened:
    """A file that can be run."""

    run: Run
    metadata: str | None
    """JSON of a `Metadata`; None where there is none."""


def open_onnx(path: Path, threads: int | None = None) -> Opened:
    """Open an ONNX file in ONNX Runtime, on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    return Opened(lambda inputs: session.run(None, dict(inputs)), text)


def open_openvino(path: Path, threads: int | None = None) -> Opened:
    """Open OpenVINO's IR, on the CPU."""
    import openvino

    core = openvino.Core()
    read = core.read_model(str(path))
    text = read.get_rt_info([KEY]).astype(str) if read.has_rt_info([KEY]) else None
    options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    if threads is not None:
        options["INFERENCE_NUM_THREADS"] = threads
    compiled = core.compile_model(read, "CPU", options)
    one_at_a_time = threading.Lock()  # all calls share a request: threads would get each other's answers

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with one_at_a_time:
            found = compiled(dict(inputs))
            return [np.array(found[output]) for output in compiled.outputs]

    return Opened(run, text)


def open_torch_export(path: Path, threads: int | None = None) -> Opened:
    """Open what `torch.export.save` wrote, on the CPU; the number of threads is torch's own."""
    import torch

    with suppress(ImportError):  # whose operations detectors have
        import torchvision  # noqa: F401

    text = None
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            if name.endswith(f"/{KEY}.json"):
                text = archive.read(name).decode()
    program: Any = torch.export.load(path).module()

    def run(inputs: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        with torch.no_grad():
            found = program(*(torch.from_numpy(np.ascontiguousarray(each)) for each in inputs.values()))
        return [each.numpy() for each in (found if isinstance(found, (list, tuple)) else [found])]

    return Opened(run, text)


OPENERS: dict[str, tuple[str, Callable[[Path, int | None], Opened]]] = {
    ".onnx": ("onnxruntime", open_onnx),
    ".xml": ("openvino", open_openvino),
    ".pt2": ("torch", open_torch_export),
}
"""Ending of a file -> the package that runs it, and how."""


def open_file(path: Path, threads: int | None = None) -> Opened:
    """Open an exported file by its ending.

    Args:
        path: The file.
        threads: Of the runtime; its own choice if None.
    Raises:
        ArtifactError: If it is missing, damaged or of another kind, or its runtime is not installed.
    """
    if path.suffix not in OPENERS:
        raise ArtifactError(f"{path} is no exported model: give a file that ends in {', '.join(OPENERS)}")
    if not path.is_file():
        raise ArtifactError(f"{path}: no such file: give what `mscsa export` wrote")
    package, opener = OPENERS[path.suffix]
    try:
        return opener(path, threads)
    except ImportError as error:
        raise ArtifactError(
            f"{path} needs {package}, which cannot be imported ({error}); run: pip install 'mscsa[export]'"
        ) from error
    except Exception as error:  # each runtime has errors of its own
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path} cannot be opened by {package} ({reason}): export it again") from error
