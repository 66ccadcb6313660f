"""What an exported model says about itself, inside its file: enough to use it without the checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from mscsa_runtime.errors import ArtifactError

Task = Literal["classification", "segmentation", "detection", "instance_segmentation", "pyramid"]
"""What a model is for; a pyramid gives maps, and nothing more is made of them here."""

KEY = "mscsa"
"""Under which the metadata stands in the file, as JSON."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of images that a model was made for, and that its file accepts."""

    height: int
    """In pixels: the only one, or the one of the example that was exported."""
    width: int
    is_dynamic: bool = False
    """Whether others are accepted, those on which the file was compared with the model among them."""
    least: int = 1
    """Least side of these, in pixels."""
    step: int = 1
    """Sides are multiples of it."""

    def accepts(self, height: int, width: int) -> bool:
        """Whether images of a size, in pixels, can be given."""
        if not self.is_dynamic:
            return (height, width) == (self.height, self.width)
        return min(height, width) >= self.least and not height % self.step and not width % self.step

    def __str__(self) -> str:
        if not self.is_dynamic:
            return f"{self.height}x{self.width}"
        of_step = f", in multiples of {self.step}" if self.step > 1 else ""
        return f"sides of {self.least} px and more{of_step}"


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """All that is known of an exported model."""

    task: Task
    parts: tuple[str, ...]
    """Names of the files, in the order in which they run."""
    identity: str
    """The same in all files of one export, and in no other."""
    sizes: Sizes
    outputs: tuple[str, ...]
    """Name of each output of the first file."""
    mean: tuple[float, ...]
    """Of red, green and blue in 0..1: images are given minus it, over `std`."""
    std: tuple[float, ...]
    class_names: tuple[str, ...] = ()
    """Of each output; a detector's label i + 1 is the i-th."""
    category_ids: tuple[int, ...] = ()
    """COCO's id of a detector's label i + 1."""
    strides: tuple[int, ...] = ()
    """Of a pyramid's maps, in pixels."""
    preprocessing: dict[str, Any] = field(default_factory=dict)
    """How an image is brought to its size (`mscsa_runtime.preprocessing`)."""
    selection: dict[str, Any] = field(default_factory=dict)
    """How detections are chosen among what the file gives (`mscsa_runtime.selection`)."""
    precision: Literal["float32", "int8"] = "float32"
    opset: int | None = None
    """ONNX's set of operations; None for other formats."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """Recipe, commit, versions; not needed to use it."""

    def to_json(self) -> str:
        """Encode it for a file."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str | None, path: object) -> Metadata:
        """Decode what a file holds.

        Raises:
            ArtifactError: If it holds nothing of the kind, or of a later version.
        """
        if text is None:
            raise ArtifactError(f"{path} does not say how it was made: give what `mscsa export` wrote")
        try:
            values = json.loads(text)
            values["sizes"] = Sizes(**values["sizes"])
            lists = {each.name for each in fields(cls) if str(each.type).startswith("tuple")}
            values |= {key: tuple(values[key]) for key in lists & values.keys()}
            return cls(**values)
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise ArtifactError(
                f"{path}: its metadata cannot be read ({reason}); it is damaged or of a later version"
            ) from error
