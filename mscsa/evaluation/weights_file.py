"""What a file of weights says about itself: enough to rebuild the model and its preprocessing.

The metadata of a safetensors file is a flat table of strings; each value here is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mscsa.checkpoints import load_weights, read_state_dict
from mscsa.errors import UserError
from mscsa.evaluation.models import build_model
from mscsa.recipes.spec import DataSpec, ModelSpec

INPUT_FIELDS = ("mean", "std", "crop_pct", "crop_mode", "interpolation", "input_size")
"""Entries of timm's `pretrained_cfg` that evaluation needs."""

_REQUIRED = ("model", "data", "class_names", "input")


@dataclass(frozen=True, kw_only=True)
class ClassifierInfo:
    """A trained classifier without its weights."""

    model: ModelSpec
    """How to build it; resolved (`resolved_spec`)."""
    data: DataSpec
    """What it was trained on: image size, kind and root."""
    class_names: tuple[str, ...]
    """Name of each output."""
    input: dict[str, Any]
    """Mean, std, crop and interpolation (`INPUT_FIELDS`)."""
    provenance: dict[str, Any]
    """Where it comes from: recipe, versions, step and accuracy; not needed to use it."""

    def to_metadata(self) -> dict[str, str]:
        """Encode as the metadata of a safetensors file."""
        fields = {
            "model": asdict(self.model),
            "data": asdict(self.data),
            "class_names": self.class_names,
            "input": self.input,
            **self.provenance,
        }
        return {"format": "pt", **{key: json.dumps(value) for key, value in fields.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str | Path) -> ClassifierInfo:
        """Decode what `to_metadata` wrote.

        Raises:
            UserError: If something is missing or not readable.
        """
        missing = [key for key in _REQUIRED if key not in metadata]
        if missing:
            raise UserError(
                f"{path} does not say how it was made (no {', '.join(missing)} in its metadata); "
                "give best.safetensors or last.safetensors of a run of `mscsa train`"
            )
        try:
            values = {key: json.loads(text) for key, text in metadata.items() if key != "format"}
            return cls(
                # A file of weights must not make anybody load others.
                model=ModelSpec(
                    **{**values.pop("model"), "freeze": (), "pretrained": False, "checkpoint": None}
                ),
                data=DataSpec(**values.pop("data")),
                class_names=tuple(values.pop("class_names")),
                input=values.pop("input"),
                provenance=values,
            )
        except (TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path}: its metadata cannot be read ({reason}); it is damaged or of a later version"
            ) from error


def load_classifier(path: str | Path) -> tuple[nn.Module, ClassifierInfo]:
    """Rebuild a classifier from a file that training wrote, in eval mode on the CPU.

    Raises:
        UserError: If the file is missing, damaged, no such file, or its weights do not fill the model.
    """
    state, metadata = read_state_dict(path)
    info = ClassifierInfo.from_metadata(metadata, path)
    model = build_model(info.model, len(info.class_names))
    _fill(model, state, path)
    return model.eval(), info


def _fill(model: nn.Module, state: dict[str, Tensor], path: str | Path) -> None:
    report = load_weights(model, state, min_matched=0.0)
    if report.missing or report.mismatched or report.unexpected:
        raise UserError(f"{path} does not fit the model it describes ({report}); copy it again")
