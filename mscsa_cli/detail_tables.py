"""Tables of what scores are made of: by class, COCO's lines, and what is taken for what."""

from __future__ import annotations

from collections.abc import Sequence

from mscsa.evaluation import DetectionScores, Evaluation, InstanceScores
from mscsa.evaluation.detection_detail import DetectionDetail, Operation
from mscsa.evaluation.miou import SegmentationScores
from mscsa.evaluation.scores import format_score
from mscsa.evaluation.top1 import Accuracy
from mscsa.report import Table

_CONFUSIONS = 12
"""Most confusions that a table names; the JSON has all."""


def detail_tables(result: Evaluation) -> list[Table]:
    """Lay out scores by class and what they are made of, where the task has them."""
    scores, names = result.scores, result.class_names
    if isinstance(scores, Accuracy):
        return [] if scores.confusion is None else [_accuracy_table(scores, names)]
    if isinstance(scores, SegmentationScores):
        tables = [_segmentation_classes(scores, names)]
        if scores.detail is not None:
            shares = [
                f"{100 * count / max(1, sum(row)):.1f}" for row in scores.detail.confusion for count in row
            ]
            tables += _confusions(scores.detail.confusion, [*names, "not finite"], names, "pixels", shares)
        return tables
    if not isinstance(scores, DetectionScores):
        return []
    if scores.detail is None:
        return [_detection_classes(scores, names)]
    confusion = scores.detail.confusion
    return [
        *_coco_lines(scores.detail),
        _detection_classes(scores, names),
        *_operations(scores.detail, names),
        *_confusions(confusion, [*names, "missed"], [*names, "invented"], "objects"),
    ]


def _accuracy_table(scores: Accuracy, names: Sequence[str]) -> Table:
    rows = []
    for name, each in zip(names, scores.by_class(), strict=True):
        figures = [format_score(value, "%") for value in (each.recall, each.precision)]
        other = "-" if each.taken_for is None else f"{each.taken_for[1]} x {names[each.taken_for[0]]}"
        rows.append((name, str(each.num_samples), *figures, other))
    return Table(
        title="By class",
        columns=("class", "images", "called right (%)", "right where called (%)", "mostly taken for"),
        rows=rows,
        notes=("A dash: there is no such image.",),
    )


def _segmentation_classes(scores: SegmentationScores, names: Sequence[str]) -> Table:
    columns = {"IoU (%)": scores.class_iou, "accuracy (%)": scores.class_accuracy}
    note = "A dash: the class is neither in the images nor predicted, and not in the mean."
    return _by_class(names, columns, note)


def _detection_classes(scores: DetectionScores, names: Sequence[str]) -> Table:
    columns = {"box AP (%)": scores.class_ap}
    if scores.detail is not None:
        columns |= {"AP50 (%)": scores.detail.boxes.class_ap50, "AR (%)": scores.detail.boxes.class_ar}
    if isinstance(scores, InstanceScores):
        columns["mask AP (%)"] = scores.class_mask_ap
        masks = None if scores.detail is None else scores.detail.masks
        if masks is not None:
            columns |= {"mask AP50 (%)": masks.class_ap50, "mask AR (%)": masks.class_ar}
    return _by_class(
        names, columns, "A dash: the images have no object of the class, and it is not in the mean."
    )


def _by_class(names: Sequence[str], columns: dict[str, tuple[float | None, ...]], note: str) -> Table:
    by_class = zip(names, *columns.values(), strict=True)
    return Table(
        title="By class",
        columns=("class", *columns),
        rows=[(name, *(format_score(value, "%") for value in values)) for name, *values in by_class],
        notes=(note,),
    )


def _coco_lines(detail: DetectionDetail) -> list[Table]:
    """Lay out COCO's twelve lines, of boxes and of masks."""
    kinds = {"boxes (%)": detail.boxes} | ({} if detail.masks is None else {"masks (%)": detail.masks})
    values = zip(*(each.summary for each in kinds.values()), strict=True)
    return [
        Table(
            title="COCO's figures",
            columns=("", *kinds),
            rows=[(line[0][0], *(format_score(value, "%") for _, value in line)) for line in values],
        )
    ]


def _operations(detail: DetectionDetail, names: Sequence[str]) -> list[Table]:
    """Lay out the best thresholds."""
    rows = zip(("all classes", *names), (detail.best, *detail.class_best), strict=True)
    return [
        Table(
            title="Least score of the best F1, boxes at IoU 0.50",
            columns=(
                "class",
                "score",
                "F1 (%)",
                "precision (%)",
                "recall (%)",
                "found",
                "missed",
                "invented",
            ),
            rows=[(name, *_operation(each)) for name, each in rows],
            notes=("A dash: nothing of the class is found, or there is none.",),
        )
    ]


def _operation(each: Operation | None) -> tuple[str, ...]:
    if each is None:
        return ("-",) * 7
    shares = (each.f1, each.precision, each.recall)
    return (
        f"{each.threshold:.3f}",
        *(f"{100 * share:.2f}" for share in shares),
        *(f"{count:,}" for count in (each.found, each.missed, each.invented)),
    )


def _confusions(
    matrix: Sequence[Sequence[int]],
    columns: Sequence[str],
    rows: Sequence[str],
    unit: str,
    shares: Sequence[str] | None = None,
) -> list[Table]:
    """Lay out what is most often taken for something else.

    Args:
        matrix: Counts by what it is (rows) and what it is taken for (columns).
        columns, rows: Their names.
        unit: What is counted.
        shares: Of each cell in its row, in %, the rows one after the other.
    """
    cells = [(count, i, j) for i, row in enumerate(matrix) for j, count in enumerate(row) if count and i != j]
    chosen = sorted(cells, key=lambda cell: -cell[0])[:_CONFUSIONS]
    if not chosen:
        return []
    headings = ("is", "taken for", unit, *(() if shares is None else ("of its pixels (%)",)))
    width = len(columns)
    return [
        Table(
            title="Most frequent confusions"
            if shares is not None
            else "Most frequent confusions, at that score",
            columns=headings,
            rows=[
                (rows[i], columns[j], f"{count:,}", *(() if shares is None else (shares[i * width + j],)))
                for count, i, j in chosen
            ],
            num_text_columns=2,
        )
    ]
