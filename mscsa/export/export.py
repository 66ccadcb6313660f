"""Exporting a trained model: folded, traced, written, compared, and only then put in its place."""

from __future__ import annotations

import importlib.metadata
import logging
import math
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from mscsa.assembly.weights_file import WeightsInfo, load_trained
from mscsa.detection.detector import Detector
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import Evaluation, evaluate
from mscsa.export.artifact_model import ArtifactModel
from mscsa.export.calibration import read_images
from mscsa.export.differences import TOLERANCE, check_sizes, difference_on
from mscsa.export.formats import Format, find_format
from mscsa.export.graphs import build_graphs, build_pyramid_graphs
from mscsa.export.programs import trace
from mscsa.export.scoring import evaluate_artifact, first_images, info_of
from mscsa.export.time_limit import OutOfTime, cpu_time_limit
from mscsa.folding import fold_norms
from mscsa.graphs import Graphs, Size
from mscsa.recipes.spec import ClassificationData
from mscsa.segmentation.segmenter import Segmenter
from mscsa_runtime.artifact import FIRST, Artifact
from mscsa_runtime.errors import ArtifactError
from mscsa_runtime.metadata import Metadata, Sizes
from mscsa_runtime.preprocessing import CROP_MODES

logger = logging.getLogger(__name__)

MAX_LOSS = 2.0
"""Most points of the main score that 8 bits may lose."""

_NUM_COMPARED = 8

_LONGEST_FOR_ANY_SIZE = 300
"""CPU seconds for a file of any size. Windows that are padded, as Swin's, are terms of the size, each within
the next, which torch has not simplified after half an hour; what it does trace takes one or two minutes."""


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written, and how it compares with the model."""

    path: Path
    """The first file."""
    metadata: Metadata
    difference: float
    """The largest on random inputs, at several sizes and batches, as a share of an output's largest value;
    before 8 bits."""
    difference_on_images: float | None = None
    """The same of the first file on real images; None where it was not asked for."""
    scores: tuple[Evaluation, Evaluation] | None = None
    """Of the model and of the artifact, likewise."""


def export_checkpoint(
    checkpoint: str | Path,
    out: str | Path,
    *,
    format: str = "onnx",
    size: Size | None = None,
    maps: bool = False,
    is_fixed: bool = False,
    check: Mapping[str, Any] | None = None,
    int8: str | Path | None = None,
    tolerance: float = TOLERANCE,
    max_loss: float = MAX_LOSS,
) -> Exported:
    """Export a trained model. Nothing is written if it does not compute what the model does.

    Args:
        checkpoint: `best.safetensors` or `last.safetensors` of a run, or its folder.
        out: Folder for the files; none of the names may be taken.
        format: One of `FORMATS`.
        size: (H, W) in pixels of the images; as in evaluation if None. It is the only one of detectors, and
            of models that are right at no other.
        maps: Export the maps of the pyramid under the head, in place of the head's answers.
        is_fixed: Take images of one size alone, which some runtimes are faster with.
        check: Fields of the data that differ from training's; asks for differences and scores on the
            validation set.
        int8: Folder of images by which to quantise to 8 bits; needs `check`.
        tolerance: Greatest difference, as a share of an output's largest value.
        max_loss: Most points of the main score that 8 bits may lose.
    Raises:
        UserError: If something given is not usable, or the artifact is not right.
    """
    for name, allowed in (("tolerance", tolerance), ("max_loss", max_loss)):
        if not 0 <= allowed < math.inf:
            raise UserError(f"{name}={allowed:g} given: give a finite number of 0 or more")
    chosen = find_format(format)
    if int8 is not None and (check is None or not chosen.has_int8):
        need = "needs a check, which shows what it loses" if chosen.has_int8 else f"is not there for {format}"
        raise UserError(f"int8 {need}: give --check, or leave --int8 out")
    if maps and check is not None:
        raise UserError("a pyramid has no score: leave --check out, random inputs are compared in any case")
    model, info = load_trained(checkpoint)
    folded = fold_norms(model.float())
    size = _size_of(info, folded, size)
    if check is not None and isinstance(info.data, ClassificationData) and size[0] != size[1]:
        raise UserError(
            f"size {size[0]}x{size[1]} given with a check, and a classifier's score is of square images: "
            "give one side, or leave --check out"
        )
    metadata = _describe(info, chosen, size, maps)
    graphs = build_pyramid_graphs(_pyramid_of(folded, checkpoint)) if maps else build_graphs(folded, size)
    if int8 is not None and (graphs.selection or {}).get("takes_sizes"):
        raise UserError(f"8 bits are not there for {info.model.head}: leave --int8 out")
    with _new_folder(Path(out), chosen) as folder:
        written = _write(graphs, metadata, chosen, folder, size, is_fixed, tolerance)
        if int8 is not None:
            written = _quantize(written, chosen, int8)
        if check is not None:
            written = _check(written, graphs, checkpoint, check, tolerance, max_loss)
    return replace(written, path=Path(out) / written.path.name)


def _size_of(info: WeightsInfo, model: nn.Module, size: Size | None) -> Size:
    """Choose the size of the example; a detector's must be one that it needs not pad."""
    height, width = size or info.data.input_size
    if not isinstance(model, (Detector, Segmenter)):
        return height, width
    step = model.size_divisor
    rounded = (step * ((height + step - 1) // step), step * ((width + step - 1) // step))
    if rounded != (height, width):
        logger.info("the size %dx%d becomes %dx%d: multiples of %d", height, width, *rounded, step)
    return rounded


def _pyramid_of(model: nn.Module, checkpoint: str | Path) -> nn.Module:
    """Take the pyramid under a head.

    Raises:
        UserError: If there is none.
    """
    pyramid = model.pyramid if isinstance(model, Detector) else getattr(model, "backbone", None)
    has_head = isinstance(model, (Detector, Segmenter))
    if not has_head or not isinstance(pyramid, nn.Module) or not hasattr(pyramid, "feature_info"):
        raise UserError(
            f"{checkpoint} has no pyramid whose maps could be exported (a classifier, or a head that makes "
            "its own): give a model with semantic_fpn or a detector, or leave --maps out"
        )
    return pyramid


def _describe(info: WeightsInfo, chosen: Format, size: Size, maps: bool) -> Metadata:
    """Say all that the checkpoint knows; what the graphs add comes later."""
    how = _preprocessing(info)
    return Metadata(
        task="pyramid" if maps else info.model.task,
        parts=(),
        identity=uuid.uuid4().hex,
        sizes=Sizes(height=size[0], width=size[1]),
        outputs=(),
        mean=tuple(info.input["mean"]),
        std=tuple(info.input["std"]),
        class_names=info.class_names,
        category_ids=info.category_ids,
        preprocessing=how,
        opset=chosen.opset,
        provenance={
            "recipe": info.provenance.get("recipe", {}).get("name"),
            "commit": info.provenance.get("git_commit"),
            "versions": {name: importlib.metadata.version(name) for name in ("mscsa", "torch", "timm")},
            "weights": info.to_metadata(),
        },
    )


def _preprocessing(info: WeightsInfo) -> dict[str, Any]:
    data: Any = info.data
    if info.model.task != "classification":
        return {
            "short_side": data.short_side,
            "long_side": data.long_side,
            "size_multiple": getattr(data, "size_multiple", 1),
        }
    is_whole = data.kind == "scenes"  # taken whole, as `build_classification_transforms` does
    mode = "center" if is_whole else info.input.get("crop_mode") or "center"
    if mode not in CROP_MODES:
        raise UserError(f"the model crops images by {mode!r}: exported are {' and '.join(CROP_MODES)} alone")
    return {
        "crop_pct": 1.0 if is_whole else info.input.get("crop_pct") or 0.875,
        "crop_mode": mode,
        "interpolation": info.input.get("interpolation") or "bicubic",
    }


@contextmanager
def _new_folder(out: Path, chosen: Format) -> Iterator[Path]:
    """Give a folder whose files move to `out` at the end, if all went well.

    Raises:
        UserError: If there is an artifact already, or the folder cannot be written.
    """
    if (out / f"{FIRST}{chosen.ending}").exists():
        raise UserError(f"{out} holds such a model already: give another --out, or remove it")
    try:
        out.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=".export-", dir=out))
    except OSError as error:
        raise UserError(f"cannot write to {out}: {error.strerror or error}; give another --out") from error
    try:
        yield folder
        # The first file last: without it, there is no artifact.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == f"{FIRST}{chosen.ending}"):
            os.replace(path, out / path.name)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if not any(out.iterdir()):
            out.rmdir()


def _write(
    graphs: Graphs,
    metadata: Metadata,
    chosen: Format,
    folder: Path,
    size: Size,
    is_fixed: bool,
    tolerance: float,
) -> Exported:
    """Write all files, with dynamic sizes where these are right, and compare them with their graphs."""
    metadata = replace(
        metadata,
        parts=tuple(f"{graph.name}{chosen.ending}" for graph in graphs.graphs),
        outputs=graphs.graphs[0].outputs,
        strides=graphs.strides,
        selection=dict(graphs.selection or {}),
    )
    is_multiple = not size[0] % graphs.step and not size[1] % graphs.step and min(size) >= 2 * graphs.step
    if not (graphs.has_one_size or is_fixed) and is_multiple:
        sizes = replace(metadata.sizes, is_dynamic=True, least=2 * graphs.step, step=graphs.step)
        try:
            with cpu_time_limit(_LONGEST_FOR_ANY_SIZE):
                return _write_files(
                    graphs,
                    replace(metadata, sizes=sizes),
                    chosen,
                    folder,
                    _probes(size, graphs.step),
                    tolerance,
                )
        except OutOfTime:
            logger.info(
                "the size is fixed to %dx%d, since torch had no program for others after %d s of CPU time "
                "(--fixed leaves them out from the start)",
                *size,
                _LONGEST_FOR_ANY_SIZE,
            )
        except (UserError, ArtifactError) as error:
            logger.info("the size is fixed to %dx%d, since others are not right: %s", *size, error)
    return _write_files(graphs, metadata, chosen, folder, [size], tolerance)


def _probes(size: Size, step: int) -> list[Size]:
    """Choose sizes that differ in how they divide, and in which side is longer; all are allowed ones."""
    return [size, (3 * step, 2 * step), (2 * step, 5 * step), (size[0] + step, size[1] + 3 * step)]


def _write_files(
    graphs: Graphs,
    metadata: Metadata,
    chosen: Format,
    folder: Path,
    sizes: Sequence[Size],
    tolerance: float,
) -> Exported:
    size = sizes[0]
    step = metadata.sizes.step if metadata.sizes.is_dynamic else None
    for graph in graphs.graphs:
        program = trace(graph, size, step=step)
        chosen.call("write", program, graph, folder / f"{graph.name}{chosen.ending}", metadata.to_json())
    path = folder / metadata.parts[0]
    difference = check_sizes(Artifact(path), graphs.graphs, sizes, tolerance)
    return Exported(path=path, metadata=metadata, difference=difference)


def _quantize(written: Exported, chosen: Format, images: str | Path) -> Exported:
    """Turn the first file into one of 8 bits; a two-stage detector's heads stay as they are."""
    metadata = replace(written.metadata, precision="int8")
    chosen.call("quantize", written.path, read_images(images, metadata), metadata.to_json())
    return replace(written, metadata=metadata)


def _check(
    written: Exported,
    graphs: Graphs,
    checkpoint: str | Path,
    overrides: Mapping[str, Any],
    tolerance: float,
    max_loss: float,
) -> Exported:
    """Compare on real images, and refuse what is too far off."""
    artifact = Artifact(written.path)
    images = first_images(artifact, overrides, _NUM_COMPARED)
    found = difference_on(artifact, graphs.graphs[0], ArtifactModel(artifact).inputs_of(images))
    is_int8 = written.metadata.precision == "int8"
    if not is_int8 and not found <= tolerance:
        raise UserError(
            f"on images the artifact differs by {found:.2g} of the largest value from the model, "
            f"{tolerance:.2g} is allowed: it was not written"
        )
    data = info_of(artifact).data
    if isinstance(data, ClassificationData):  # which the artifact may take of another size than in training
        overrides = {"image_size": data.image_size, **overrides}
    own = evaluate(checkpoint, overrides, accelerator="cpu")
    exported = evaluate_artifact(artifact, overrides)
    name = own.scores.MAIN
    lost = getattr(own.scores, name) - getattr(exported.scores, name)
    if is_int8 and lost > max_loss:
        raise UserError(
            f"8 bits lose {lost:.2f} % of {own.scores.LABELS[name][0]}, {max_loss:g} are allowed: it is "
            "not written; give other images to --int8, or leave it out"
        )
    return replace(written, difference_on_images=found, scores=(own, exported))
