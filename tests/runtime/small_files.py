"""Tiny ONNX files, written by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

from mscsa_runtime.metadata import KEY, Metadata, Sizes

METADATA = Metadata(
    task="classification",
    parts=("model.onnx",),
    identity="one",
    sizes=Sizes(height=8, width=8),
    outputs=("logits",),
    mean=(0.0, 0.0, 0.0),
    std=(1.0, 1.0, 1.0),
    class_names=("red", "green", "blue"),
    preprocessing={"crop_pct": 1.0, "crop_mode": "center", "interpolation": "bilinear"},
)
"""Of a classifier whose logits are the means of the colours."""


def write_means(path: Path, text: str | None = None, **changed: Any) -> Path:
    """Write the classifier with its metadata, some of it changed; or with another text."""
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["b", 3, "h", "w"])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["b", 3])
    nodes = [
        helper.make_node("GlobalAveragePool", ["images"], ["means"]),
        helper.make_node("Flatten", ["means"], ["logits"]),
    ]
    graph = helper.make_graph(nodes, "means", [images], [logits])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, {KEY: text or replace(METADATA, **changed).to_json()})
    onnx.save(model, path)
    return path


def write_means_for_openvino(path: Path) -> Path:
    """Write it beside a path as OpenVINO's IR; gives that file."""
    import openvino

    model = openvino.convert_model(str(write_means(path)))
    model.set_rt_info(METADATA.to_json(), [KEY])
    openvino.save_model(model, path.with_suffix(".xml"))
    return path.with_suffix(".xml")
