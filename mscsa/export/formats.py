"""The formats that models are exported to: a row each."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch.export import ExportedProgram

from mscsa.errors import UserError, needs_extra, unknown_name
from mscsa.graphs import Graph

Write = Callable[[ExportedProgram, Graph, Path, str], None]
"""Writes a traced graph, with its metadata as JSON, to a file."""


@dataclass(frozen=True)
class Format:
    """A format: the module that writes it has `write`, and `quantize` where it can."""

    module: str
    ending: str
    """Of its files, as `mscsa_runtime.backends.OPENERS` knows it."""
    package: str
    """What writes it."""
    has_int8: bool = False
    opset: int | None = None
    """ONNX's set of operations."""

    def load(self, function: str) -> Callable[..., None]:
        """Import one of its functions.

        Raises:
            UserError: If a package that it stands on is not installed.
        """
        try:
            importlib.import_module(self.package)
            return getattr(importlib.import_module(self.module), function)
        except ImportError as error:
            what = f"this format needs a package that is not installed ({error})"
            raise needs_extra(what, "export") from error

    def call(self, function: str, *arguments: Any) -> None:
        """Call one of its functions.

        Raises:
            UserError: If it does not know an operation of the model, or a package is missing.
        """
        work = self.load(function)
        try:
            work(*arguments)
        except UserError:  # says what is wrong by itself
            raise
        except Exception as error:  # each package has errors of its own
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"{self.package} cannot {function} this model as {self.ending} ({reason}): give another "
                "--format, or use the checkpoint itself"
            ) from error


OPSET = 20

FORMATS: dict[str, Format] = {
    "onnx": Format("mscsa.export.onnx_file", ".onnx", "onnxscript", has_int8=True, opset=OPSET),
    "openvino": Format("mscsa.export.openvino_file", ".xml", "openvino", has_int8=True),
    "torch_export": Format("mscsa.export.torch_file", ".pt2", "torch"),
}


def find_format(name: str) -> Format:
    """Look a format up.

    Raises:
        UserError: If there is none of this name; names the nearest.
    """
    if not isinstance(name, str) or name not in FORMATS:
        raise unknown_name("no format is called", name, FORMATS)
    return FORMATS[name]
