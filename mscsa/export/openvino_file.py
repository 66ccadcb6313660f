"""OpenVINO's IR, made from ONNX, and its 8-bit form by NNCF."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.export import ExportedProgram

from mscsa.export.onnx_file import to_onnx
from mscsa.graphs import Graph
from mscsa_runtime.metadata import KEY


def write(program: ExportedProgram, graph: Graph, path: Path, metadata: str) -> None:
    """Write a traced graph: PATH.xml with the metadata, and the weights beside it in PATH.bin."""
    import onnx
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        between = Path(folder) / "model.onnx"
        onnx.save(to_onnx(program, graph), between)
        model = openvino.convert_model(str(between))
        _save(model, path, metadata)


def quantize(path: Path, images: list[NDArray[np.float32]], metadata: str) -> None:
    """Quantise weights and maps to 8 bits."""
    # What nncf imports of torch warns where there is a compiler for GPUs and no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    import nncf
    import openvino

    model = openvino.Core().read_model(str(path))
    data = nncf.Dataset(images, lambda image: {"images": image})
    quantized = nncf.quantize(model, data, subset_size=len(images))
    with tempfile.TemporaryDirectory() as folder:  # the weights that are read lie in the file to be replaced
        written = Path(folder) / path.name
        _save(quantized, written, metadata)
        for ending in (".xml", ".bin"):
            path.with_suffix(ending).write_bytes(written.with_suffix(ending).read_bytes())


def _save(model: Any, path: Path, metadata: str) -> None:
    import openvino

    model.set_rt_info(metadata, [KEY])
    openvino.save_model(model, str(path), compress_to_fp16=False)
