"""ONNX by torch's exporter, and its 8-bit form by ONNX Runtime."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from mscsa.export.formats import OPSET
from mscsa.graphs import Graph
from mscsa_runtime.metadata import KEY


def to_onnx(program: ExportedProgram, graph: Graph) -> Any:
    """Turn a traced graph into ONNX's protocol buffer."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet = logging.getLogger("onnxscript"), logging.getLogger("onnx_ir")
        for each in quiet:
            each.setLevel(logging.ERROR)
        exported = torch.onnx.export(
            program,
            (),
            dynamo=True,
            input_names=list(graph.axes),
            output_names=list(graph.outputs),
            opset_version=OPSET,
            verbose=False,
        )
    assert exported is not None, "with dynamo a program comes back"
    return exported.model_proto


def write(program: ExportedProgram, graph: Graph, path: Path, metadata: str) -> None:
    """Write a traced graph with its metadata."""
    import onnx

    model = to_onnx(program, graph)
    onnx.helper.set_model_props(model, {KEY: metadata})
    onnx.save(model, path)


def quantize(path: Path, images: list[NDArray[np.float32]], metadata: str) -> None:
    """Quantise weights and maps to 8 bits, with the scales between the operations (QDQ)."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):
        def __init__(self) -> None:
            self.rest: Iterator[NDArray[np.float32]] = iter(images)

        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            image = next(self.rest, None)
            return None if image is None else {"images": image}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared),
            str(path),
            Images(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            # Weights of 7 bits: on processors without VNNI the sums of 8 overflow, silently.
            reduce_range=True,
            # Products of attention, sums and norms stay in float32: they cost little and lose much.
            op_types_to_quantize=["Conv", "Gemm", "MatMul"],
            extra_options={"MatMulConstBOnly": True},
        )
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {KEY: metadata})
    onnx.save(model, path)
