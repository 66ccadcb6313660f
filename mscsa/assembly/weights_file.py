"""What a file of weights says about itself: enough to rebuild the model and its preprocessing.

The metadata of a safetensors file is a flat table of strings; each value here is JSON.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from torch import nn

from mscsa.assembly.build import build_model
from mscsa.checkpoints.loading import load_weights
from mscsa.checkpoints.reading import read_state_dict
from mscsa.errors import UserError
from mscsa.heads import Task
from mscsa.recipes.spec import (
    GIVEN_PLACES,
    PARTS,
    PLACES,
    DataSpec,
    DetectionData,
    ModelSpec,
    SegmentationData,
)
from mscsa.run_files import BEST, CONFIG

EVALUATION_INPUT = ("mean", "std", "crop_pct", "crop_mode", "interpolation", "input_size")
"""Entries of timm's `pretrained_cfg` that evaluation needs."""

_REQUIRED = ("model", "data", "class_names", "input")

_BEST_IN_FOLDER = (BEST, "model.safetensors")
"""What the folder of a run stands for, and that of a published model."""

_KIND_OF_FOLDER: dict[Task, str] = {
    "classification": "folder",
    "segmentation": "masks",
    "detection": "coco",
    "instance_segmentation": "coco",
}
"""Form of a data set of files, by task."""


@dataclass(frozen=True, kw_only=True)
class WeightsInfo:
    """A trained model without its weights."""

    model: ModelSpec
    """How to build it; resolved (`resolved_spec`)."""
    data: DataSpec
    """What it was trained on: kind and sizes; in the folder of its run also where it is."""
    class_names: tuple[str, ...]
    """Name of each output."""
    category_ids: tuple[int, ...] = ()
    """COCO's id of label i + 1, for detectors."""
    flip_pairs: tuple[tuple[str, str], ...] = ()
    """Names of classes that are each other in a mirror image, as training had them; none if it had none, or
    the file does not say."""
    input: dict[str, Any]
    """Mean, std, crop and interpolation (`EVALUATION_INPUT`)."""
    provenance: dict[str, Any]
    """Where it comes from: recipe, versions, step and scores; not needed to use it."""

    def overrides(self, *, root: str | None, size: int | None, **others: Any) -> dict[str, Any]:
        """Name what differs from the data it was trained on; what is None does not.

        Args:
            root: Folder of another data set, of the same layout unless it was trained on scenes.
            size: Side of a classifier's input, shorter side for other tasks, in pixels.
        Returns:
            Fields of `data` by name.
        """
        task = self.model.task
        size_field = "image_size" if task == "classification" else "short_side"
        given = {"root": root, size_field: size, **others}
        given = {name: value for name, value in given.items() if value is not None}
        if size is not None and isinstance(self.data, (DetectionData, SegmentationData)):
            # The limit grows along, so that it does not hold back what was asked for.
            given["long_side"] = max(size, round(self.data.long_side * size / self.data.short_side))
        if root is not None and isinstance(self.data, DetectionData) and self.data.is_given:
            given |= dict.fromkeys(GIVEN_PLACES)
        if root is not None and self.data.is_rendered:
            given["kind"] = _KIND_OF_FOLDER[task]
        return given

    def to_metadata(self) -> dict[str, str]:
        """Encode as the metadata of a safetensors file."""
        fields = {
            "model": asdict(self.model),
            "data": asdict(self.data),
            "class_names": self.class_names,
            "category_ids": self.category_ids,
            "flip_pairs": self.flip_pairs,
            "input": self.input,
            **self.provenance,
        }
        return {"format": "pt", **{key: json.dumps(value) for key, value in fields.items()}}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: str | Path) -> WeightsInfo:
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
            _complete(values["model"].get("mscsa"))
            # A file of weights must not make anybody load others.
            model = ModelSpec(
                **{**values.pop("model"), "freeze": (), "pretrained": False, "checkpoint": None}
            )
            return cls(
                model=model,
                data=PARTS[model.task][0](**values.pop("data")),
                class_names=tuple(values.pop("class_names")),
                category_ids=tuple(values.pop("category_ids", ())),
                flip_pairs=tuple(map(tuple, values.pop("flip_pairs", None) or _flip_pairs_of_recipe(values))),
                input=values.pop("input"),
                provenance=values,
            )
        except (TypeError, ValueError, AttributeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{path}: its metadata cannot be read ({reason}); it is damaged or of a later version"
            ) from error


def _complete(mscsa: dict[str, Any] | None) -> None:
    """Say in a configuration of before `gate_scale` what its gates were; its start means nothing any more."""
    if mscsa is not None and mscsa.get("init") in ("default", "identity"):  # the names of that time
        mscsa["gate_scale"] = 2.0 if mscsa.pop("init") == "identity" else 1.0


def _flip_pairs_of_recipe(values: Mapping[str, Any]) -> Sequence[Sequence[str]]:
    """Find the pairs in the recipe, where a file of before `flip_pairs` has those that were given by hand."""
    pairs: Sequence[Sequence[str]] = values.get("recipe", {}).get("augment", {}).get("flip_pairs", ())
    return pairs


def weights_at(path: str | Path) -> Path:
    """Give the file of weights that a path names: the folder of a run stands for its best ones.

    Raises:
        UserError: If a folder has none.
    """
    path = Path(path)
    if not path.is_dir():
        return path
    found = [path / name for name in _BEST_IN_FOLDER if (path / name).is_file()]
    if not found:
        raise UserError(
            f"{path} has no {_BEST_IN_FOLDER[0]} yet: give the folder of a run that was "
            "evaluated, or of `mscsa pull`"
        )
    return found[0]


def _with_places(info: WeightsInfo, path: Path) -> WeightsInfo:
    """Add where the data is, which a run's own files say and its weights do not."""
    if info.data.places or info.data.is_rendered:
        return info
    for folder in (path.parent, path.parent.parent):
        with suppress(OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
            said = yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8"))["data"]
            places = {name: said[name] for name in PLACES if said.get(name) is not None}
            return replace(info, data=replace(info.data, **places))
    return info


def read_info(path: str | Path) -> WeightsInfo:
    """Read what a file of weights, or the best one of a run's folder, says about itself.

    Raises:
        UserError: If the file is missing, damaged, or not one that training wrote.
    """
    path = weights_at(path)
    return _with_places(WeightsInfo.from_metadata(read_state_dict(path)[1], path), path)


def load_trained(path: str | Path, *tasks: Task) -> tuple[nn.Module, WeightsInfo]:
    """Rebuild a model from a file that training wrote, or a run's folder, in eval mode on the CPU.

    Args:
        tasks: What the model may be for; any task if there are none.
    Raises:
        UserError: If the file is missing, damaged, no such file, of another task, or its weights do not
            fill the model.
    """
    path = weights_at(path)
    state, metadata = read_state_dict(path)
    info = _with_places(WeightsInfo.from_metadata(metadata, path), path)
    if tasks and info.model.task not in tasks:
        raise UserError(f"{path} holds a model for {info.model.task}: give one for {' or '.join(tasks)}")
    model = build_model(info.model, len(info.class_names))
    try:
        load_weights(model, state, policy="exact")
    except UserError as error:
        raise UserError(f"{path} does not fit the model it describes, copy it again: {error}") from error
    return model.eval(), info
