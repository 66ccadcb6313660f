"""What the page shows, worked out for one request at a time; nothing of one is kept for the next."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from mscsa.compare.folder import first_trained_pair
from mscsa.compare.pareto import (
    COSTS,
    Cost,
    Finished,
    draw_pareto,
    pareto_front,
    pareto_table,
    read_finished,
)
from mscsa.cost.info_tables import cost_tables
from mscsa.cost.matched_control import spec_on_meta
from mscsa.cost.model_info import describe_model, describe_pair
from mscsa.cost.model_pair import ModelPair
from mscsa.demo.answers import Answer, answers_table, ask, drawn, refused
from mscsa.demo.models import SHIPPED_NAME, ShownModel
from mscsa.demo.pairing import differences, load_pair
from mscsa.demo.uploads import Limits, Upload, read_upload
from mscsa.errors import UserError
from mscsa.evaluation.scores import SCORES, format_score
from mscsa.heads import Task
from mscsa.names import parse_model_name
from mscsa.neck_table import MSCSA_NECK
from mscsa.pictures.saliency import compute_saliency
from mscsa.pictures.saliency_maps import draw_attention, draw_query
from mscsa.pictures.saliency_model import SaliencyModel, load_saliency_model
from mscsa.recipes.arms import without_neck
from mscsa.report import Table
from mscsa.run_files import COMPARISON


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What all models say about an image."""

    says: str
    """Which image, in one line."""
    answers: tuple[Answer, ...]
    table: Table
    """What it cost."""


@dataclass(frozen=True, kw_only=True)
class Looked:
    """Where cross-scale attention looks in an image."""

    says: str
    picture: Image.Image


class Demo:
    """The models of a page and what can be asked of them, by several people at once.

    Whoever asks waits for the others: the hooks that take down attention would mix their images, and times
    would be of both.
    """

    def __init__(
        self,
        models: Sequence[ShownModel],
        *,
        saliency: SaliencyModel | None = None,
        finished: Sequence[Finished] = (),
        limits: Limits | None = None,
    ) -> None:
        """Take what was loaded.

        Args:
            models: One or two of one task, that without MSCSA first.
            saliency: The model to look into; None where there is none with MSCSA.
            finished: Comparisons.
            limits: Of uploads.
        """
        self.models = tuple(models)
        self.saliency = saliency
        self.finished = tuple(finished)
        self.limits = limits or Limits()
        self._lock = threading.Lock()

    @property
    def task(self) -> Task:
        """What the models are for."""
        return self.models[0].task

    def notes(self) -> list[str]:
        """Say what the page does not show, and what to make of it."""
        if self.models[0].info is None:
            return [
                f"No run was given: this is {SHIPPED_NAME} as timm has it, without MSCSA. There are no "
                "trained weights of MSCSA beside it: nothing is compared here, and there is no attention to "
                "look into. Train a pair with mscsa compare, and give its folder: mscsa demo runs/compare."
            ]
        if len(self.models) == 1:
            return ["One model was given: name one trained alike without MSCSA with --baseline to compare."]
        first, second = (model.info for model in self.models)
        other = [] if first is None or second is None else differences(first, second)
        notes = ["One image says little about which model is better: scores and comparisons do."]
        if other is None:
            notes.append("The files do not say by what recipe both were trained: they may differ in more.")
        elif other:
            notes.append(f"Not a matched pair, beside MSCSA these differ: {', '.join(other)}.")
        return notes

    def predict(self, path: str | Path, threshold: float = 0.5) -> Predicted:
        """Ask all models about an uploaded file.

        Args:
            threshold: Least score of an object that is drawn, 0 to 1.
        Raises:
            UserError: If the file gives no image, or a model cannot run on it.
        """
        with self._lock:
            upload = read_upload(path, self.limits)
            answers = ask(self.models, upload.image, threshold)
            table = answers_table(self.models, answers)
        return Predicted(says=upload.says, answers=tuple(answers), table=table)

    def show(self, path: str | Path) -> Upload:
        """Read an uploaded file, to be clicked at.

        Raises:
            UserError: If it gives no image.
        """
        with self._lock:
            return read_upload(path, self.limits)

    def look(self, path: str | Path, point: tuple[int, int] | None = None) -> Looked:
        """Look into the model with MSCSA: where attention falls, or where one point looks.

        Args:
            point: (x, y) in pixels of the image as `show` gives it; the mean over all points if None.
        Raises:
            UserError: If there is no such model, the file gives no image, or the model cannot run on it.
        """
        if self.saliency is None:
            raise UserError("no model with trained MSCSA was given: there is nothing to look into")
        with self._lock:
            upload = read_upload(path, self.limits)
            return _look(self.saliency, upload, point)

    def cost_tables(self) -> list[Table]:
        """Lay out the models, and what each part of them costs."""
        if self.models[0].info is None:
            return cost_tables(describe_model(SHIPPED_NAME))
        last = self.models[-1]
        tables = [self._models_table()]
        if last.spec.neck_name is None:
            return tables
        bare = without_neck(last.spec)
        baseline = self.models[0] if len(self.models) == 2 else None
        name = parse_model_name(last.spec.name)
        pair = ModelPair(
            baseline_name=name.without_mscsa,
            baseline=spec_on_meta(bare, len(last.loaded.class_names), last.input_size)
            if baseline is None
            else baseline.skeleton,
            name=name.with_mscsa if last.spec.neck_name == MSCSA_NECK else last.title,
            model=last.skeleton,
            is_dense=last.spec.head is not None,
            head=last.spec.head,
        )
        return [*tables, *cost_tables(describe_pair(pair, last.input_size))]

    def _models_table(self) -> Table:
        kind = SCORES[self.task]
        label, unit = kind.LABELS[kind.MAIN]
        rows = []
        for model in self.models:
            result = {} if model.info is None else model.info.provenance.get("result", {})
            score = format_score(result.get(kind.MAIN), unit)
            height, width = model.input_size
            cost = f"{model.parameters / 1e6:.2f}", f"{model.macs((height, width)) / 1e9:.3f}"
            rows.append((model.title, str(model.file), score, *cost, f"{height}x{width}"))
        return Table(
            title="Models",
            columns=("model", "file", f"{label} {unit}, validation", "parameters (M)", "GMACs", "at px"),
            rows=rows,
            num_text_columns=2,
            notes=("Scores are what training measured of these weights, one seed each.",),
        )

    def costs(self) -> list[Cost]:
        """Name the costs that at least one comparison has measured."""
        return [cost for cost in COSTS if any(pareto_front(each.points, cost) for each in self.finished)]

    def pareto(self, cost: Cost) -> Image.Image:
        """Draw the arms of all comparisons by score and cost.

        Raises:
            UserError: If the cost is known of no arm.
        """
        with self._lock:
            return drawn(lambda path: draw_pareto(self.finished, cost, path))

    def pareto_tables(self) -> list[Table]:
        """Lay out all comparisons."""
        return [pareto_table(each) for each in self.finished]


def _look(saliency: SaliencyModel, upload: Upload, point: tuple[int, int] | None) -> Looked:
    picture, pixels = saliency.prepare(upload.image)
    queries = [] if point is None else [_on(picture, upload.image, point)]
    try:
        found = compute_saliency(saliency.model, pixels, queries)
    except UserError:
        raise
    except (AssertionError, RuntimeError, ValueError, MemoryError) as error:
        raise refused(saliency.name, upload.image, error) from error
    if point is None:
        shown = drawn(lambda path: draw_attention(path, saliency.name, picture, found))
        return Looked(says=f"{upload.says}: the mean over all points", picture=shown)
    shown = drawn(lambda path: draw_query(path, saliency.name, picture, found, 0, queries[0]))
    return Looked(says=f"{upload.says}: the point x={point[0]}, y={point[1]}", picture=shown)


def _on(picture: Image.Image, image: Image.Image, point: tuple[int, int]) -> tuple[int, int]:
    """Give the pixel (y, x) of the resized picture at which a point (x, y) of the image lies."""
    x, y = point
    return y * picture.height // image.height, x * picture.width // image.width


def open_demo(
    model: str | None,
    baseline: str | None = None,
    *,
    comparisons: Sequence[str] = (),
    limits: Limits | None = None,
    accelerator: str = "auto",
) -> Demo:
    """Load all that a page shows.

    Args:
        model, baseline: As `load_pair`.
        comparisons: As `read_finished`; `model` is among them if it is one.
        limits: Of uploads.
        accelerator: `cpu`, `gpu`, or `auto`.
    Raises:
        UserError: If something of it is not usable.
    """
    models = load_pair(model, baseline, accelerator=accelerator)
    last = models[-1]
    with_mscsa = last.file is not None and last.spec.neck_name == MSCSA_NECK
    saliency = load_saliency_model(None, last.file) if with_mscsa else None
    given = list(comparisons)
    if model is not None and first_trained_pair(Path(model)) and (Path(model) / COMPARISON).is_file():
        given.insert(0, model)
    return Demo(models, saliency=saliency, finished=read_finished(given), limits=limits)
