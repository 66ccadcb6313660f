"""COCO's average precision of boxes and masks, each image counted once for any number of processes."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from mscsa.data.contract import ObjectDataset
from mscsa.errors import needs_extra
from mscsa.evaluation.detection_detail import (
    DetectionDetail,
    best_operations,
    confusion_of,
    mean_of,
    overlap_detail,
)
from mscsa.evaluation.detection_inference import InViews
from mscsa.evaluation.detections import Detections, find_objects
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.evaluation.matches import Matches, find_matches
from mscsa.evaluation.running import in_group, pass_over
from mscsa.files import write_text

_AREAS = ("", "_small", "_medium", "_large")
"""COCO's ranges of an object's area: all, below 32x32, to 96x96, above."""

_FIRST_LIMITS = (1, 10)
"""COCO's smaller limits on the detections of an image; the largest is the detector's own."""

Result = dict[str, Any]
"""A detection as COCO's result files have it: `image_id`, `category_id`, `bbox`, `score`, `segmentation`."""


@dataclass(frozen=True, kw_only=True)
class DetectionScores:
    """COCO's average precision, mean over classes, in %; None where no object is of the size."""

    MAIN: ClassVar[str] = "ap"
    LABELS: ClassVar[dict[str, tuple[str, str]]] = {
        "ap": ("box AP", "%"),
        "ap50": ("AP50", "%"),
        "ap75": ("AP75", "%"),
        "ap_small": ("AP small", "%"),
        "ap_medium": ("AP medium", "%"),
        "ap_large": ("AP large", "%"),
    }
    IMAGES: ClassVar[type[ImageCounts]] = Matches

    ap: float
    """Mean over IoU 0.50, 0.55, ..., 0.95."""
    ap50: float
    """At IoU 0.50."""
    ap75: float
    """At IoU 0.75."""
    ap_small: float | None
    """Of objects below 32x32 px in the image's own pixels."""
    ap_medium: float | None
    """Of objects of 32x32 to 96x96 px."""
    ap_large: float | None
    """Of objects above 96x96 px."""
    num_samples: int
    """Images, over all processes."""
    class_ap: tuple[float | None, ...]
    """AP by class; None for classes without an object."""
    images: Matches | None = field(default=None, repr=False, compare=False)
    """The matches of boxes by image, in the first process, where it was asked for."""
    detail: DetectionDetail | None = field(default=None, repr=False, compare=False)
    """What the scores are made of, where it was asked for."""


@dataclass(frozen=True, kw_only=True)
class InstanceScores(DetectionScores):
    """The same of boxes and of masks."""

    LABELS: ClassVar[dict[str, tuple[str, str]]] = {
        **DetectionScores.LABELS,
        "mask_ap": ("mask AP", "%"),
        "mask_ap50": ("mask AP50", "%"),
        "mask_ap75": ("mask AP75", "%"),
        "mask_ap_small": ("mask AP small", "%"),
        "mask_ap_medium": ("mask AP medium", "%"),
        "mask_ap_large": ("mask AP large", "%"),
    }

    mask_ap: float
    """As `ap`, by the IoU of masks."""
    mask_ap50: float
    mask_ap75: float
    mask_ap_small: float | None
    mask_ap_medium: float | None
    mask_ap_large: float | None
    class_mask_ap: tuple[float | None, ...]


def measure_detection(
    model: nn.Module,
    loader: Iterable[tuple[Sequence[Tensor], Sequence[Mapping[str, Any]], Tensor]],
    *,
    dataset: ObjectDataset,
    device: torch.device,
    with_masks: bool,
    precision: str = "32-true",
    stop: Callable[[], bool] | None = None,
    results: str | Path | None = None,
    with_images: bool = False,
    with_detail: bool = False,
    views: InViews | None = None,
) -> DetectionScores | None:
    """Run a detector over a loader in eval mode and score what it finds in the images' own pixels.

    In a process group each process gives its own share of the data (`EvalSampler`), of any length; what they
    found is gathered once at the end. The modules' training modes are as before afterwards.

    Args:
        model: A `mscsa.detection.Detector`.
        loader: Batches of images (3, h, w), targets (`image_id`, `size`) and indices (B,).
        dataset: What the loader reads; it knows the objects and COCO's category ids.
        with_masks: Whether masks are scored too.
        precision, stop: As of `mscsa.evaluation.scores.measure`.
        results: Write the detections to this file, as `write_results` does.
        with_images: Keep the matches of each image; all processes must say the same.
        with_detail: Say what the scores are made of; likewise.
        views: Look at views of each image; the loader's images are then uint8 of their own size.
    Raises:
        UserError: If faster-coco-eval is not installed, or `results` cannot be written.
        ValueError: If no process has a sample, an image comes twice, or no image has an object.
    """
    seen: list[tuple[int, int]] = []  # id and place in the data set
    found: list[Result] = []
    look = find_objects if views is None else views.find_objects

    def find(batch: tuple[Sequence[Tensor], Sequence[Mapping[str, Any]], Tensor]) -> None:
        images, targets, indices = batch
        sizes = [tuple(target["size"]) for target in targets]
        detections = look(model, images, sizes, device=device, precision=precision)
        for target, each, index in zip(targets, detections, indices.tolist(), strict=True):
            seen.append((int(target["image_id"]), int(index)))
            found.extend(coco_results(int(target["image_id"]), each, dataset.category_ids))

    all_seen, all_found, is_stopped = _gather(seen, found, pass_over(model, loader, find, stop))
    if is_stopped:
        return None
    places = _places(all_seen)
    limit: int = model.detections_per_img  # type: ignore[assignment]

    def score() -> DetectionScores:
        if results is not None:
            write_results(results, all_found, with_masks)
        truth, kept = dataset.ground_truth(), places if with_images else None
        return score_results(
            truth, all_found, dataset, list(places), limit, with_masks, kept, with_detail=with_detail
        )

    return _on_first_process(score, device)


def write_results(path: str | Path, found: Sequence[Result], with_masks: bool) -> None:
    """Write detections in COCO's format of results; those of masks beside them, in NAME_masks.json.

    Tools that find boxes and masks in one file take the area of the box for that of the mask.

    Raises:
        UserError: If a file cannot be written.
    """
    boxes = [{key: value for key, value in each.items() if key != "segmentation"} for each in found]
    write_text(path, json.dumps(boxes))
    if with_masks:
        masks = [{key: value for key, value in each.items() if key != "bbox"} for each in found]
        write_text(masks_beside(path), json.dumps(masks))


def masks_beside(path: str | Path) -> Path:
    """Name the file of masks that belongs to one of boxes."""
    path = Path(path)
    return path.with_name(f"{path.stem}_masks{path.suffix}")


def _places(seen: Sequence[tuple[int, int]]) -> dict[int, int]:
    """Give the place in the data set of each image id that was evaluated."""
    if not seen:
        raise ValueError("no samples to evaluate: the validation set is empty")
    places = dict(seen)
    if len(places) < len(seen):
        raise ValueError("an image was evaluated twice: give each process samples of its own (EvalSampler)")
    return places


def coco_results(image_id: int, detections: Detections, category_ids: Sequence[int]) -> list[Result]:
    """Write detections of an image as COCO's result files do: boxes as x, y, width, height in pixels."""
    boxes = detections.boxes.astype(np.float64)
    boxes[:, 2:] -= boxes[:, :2]
    results: list[Result] = [
        {"image_id": image_id, "category_id": category_ids[label - 1], "bbox": box, "score": score}
        for label, box, score in zip(
            detections.labels.tolist(), boxes.tolist(), detections.scores.tolist(), strict=True
        )
    ]
    if detections.masks is not None:
        for result, mask in zip(results, detections.masks, strict=True):
            result["segmentation"] = mask
    return results


def score_results(
    truth: Mapping[str, Any],
    results: Sequence[Result],
    dataset: ObjectDataset,
    image_ids: Sequence[int],
    limit: int,
    with_masks: bool,
    places: Mapping[int, int] | None = None,
    *,
    with_detail: bool = False,
) -> DetectionScores:
    """Score detections as pycocotools does.

    Args:
        truth: Images, annotations and categories of a COCO file; crowds count as such.
        results: Detections in COCO's format of results.
        dataset: For the order of its categories.
        image_ids: Images that were looked at; each counts, with detections or without.
        limit: Most detections of an image that count.
        with_masks: Whether masks are scored too.
        places: Image id -> place in the data set, to keep the matches of each image; None keeps none.
        with_detail: Whether to say what the scores are made of.
    Raises:
        UserError: If faster-coco-eval is not installed.
        ValueError: If the images have no objects.
    """
    images = _ranks(each["id"] for each in truth["images"])
    categories = _ranks(each["id"] for each in truth["categories"])
    truth, results = _renumbered(truth, results, images, categories)
    image_ids = [images[each] for each in image_ids]
    category_ids = [categories[each] for each in dataset.category_ids]
    boxes = _evaluate(truth, results, image_ids, limit, "bbox")
    values = _average_precision(boxes, category_ids)
    if values["ap"] is None:
        raise ValueError("no image of the validation set has an object: there is nothing to score")
    values["num_samples"] = len(image_ids)
    if places is not None:
        own = {images[image_id]: place for image_id, place in places.items()}
        values["images"] = find_matches(boxes, own, category_ids)
    if with_detail:
        values["detail"] = _detail(boxes, truth, results, image_ids, category_ids)
    if not with_masks:
        return DetectionScores(**values)
    masks = _evaluate(truth, results, image_ids, limit, "segm")
    if with_detail:
        values["detail"] = replace(values["detail"], masks=overlap_detail(masks, category_ids))
    scores = _average_precision(masks, category_ids)
    by_mask = {"class_mask_ap" if name == "class_ap" else f"mask_{name}": v for name, v in scores.items()}
    return InstanceScores(**values, **by_mask)


def _detail(
    boxes: Any,
    truth: Mapping[str, Any],
    results: Sequence[Result],
    image_ids: Sequence[int],
    category_ids: Sequence[int],
) -> DetectionDetail:
    """Say what the scores of boxes are made of; all ids are those of the evaluation."""
    matches = find_matches(boxes, {each: i for i, each in enumerate(image_ids)}, category_ids)
    best, class_best = best_operations(matches)
    threshold = float("inf") if best is None else best.threshold
    confusion = confusion_of(truth, results, image_ids, category_ids, threshold)
    return DetectionDetail(
        boxes=overlap_detail(boxes, category_ids),
        masks=None,
        best=best,
        class_best=class_best,
        confusion=tuple(map(tuple, confusion.tolist())),
    )


def _ranks(ids: Iterable[int]) -> dict[int, int]:
    """Number ids from 1 on, in their order, by which COCO sorts detections of equal scores."""
    return {each: rank for rank, each in enumerate(sorted(set(ids)), start=1)}


def _renumbered(
    truth: Mapping[str, Any],
    results: Sequence[Result],
    images: Mapping[int, int],
    categories: Mapping[int, int],
) -> tuple[dict[str, list[dict[str, Any]]], list[Result]]:
    """Number images, categories and annotations from 1 on, as the evaluation needs them.

    It takes the id 0 of an annotation for none, counts those of one id as one object, and has no room for ids
    below 0 or beyond 2^53.
    """

    def new(entry: Mapping[str, Any]) -> dict[str, Any]:
        return {
            **entry,
            "image_id": images[entry["image_id"]],
            "category_id": categories[entry["category_id"]],
        }

    renumbered = {
        "images": [{**each, "id": images[each["id"]]} for each in truth["images"]],
        "annotations": [{**new(each), "id": i} for i, each in enumerate(truth["annotations"], start=1)],
        "categories": [{**each, "id": categories[each["id"]]} for each in truth["categories"]],
    }
    return renumbered, [new(each) for each in results]


def _evaluate(
    truth: Mapping[str, Any],
    results: Sequence[Result],
    image_ids: Sequence[int],
    limit: int,
    kind: str,
) -> Any:
    """Match the boxes (`bbox`) or masks (`segm`) of detections to objects, by `COCOeval_faster`."""
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        what = f"COCO's scores need faster-coco-eval, which cannot be imported ({error})"
        raise needs_extra(what, "detection") from error
    # Masks without their boxes: the evaluation would take the areas of these instead.
    kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
    found = [{key: result[key] for key in kept} for result in results]
    with contextlib.redirect_stdout(io.StringIO()):
        # Copies of the annotations, because the evaluation writes into them.
        truth_set = COCO({**truth, "annotations": [dict(each) for each in truth["annotations"]]})
        found_set = truth_set.loadRes(found) if found else COCO({**truth, "annotations": []})
        evaluation = COCOeval_faster(truth_set, found_set, kind)
        evaluation.params.imgIds = sorted(set(image_ids))
        evaluation.params.maxDets = [*_FIRST_LIMITS, max(limit, _FIRST_LIMITS[-1] + 1)]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation


def _average_precision(evaluation: Any, category_ids: Sequence[int]) -> dict[str, Any]:
    """Give AP by IoU, by area and by class, in %; None where there is no object."""
    # IoU thresholds x recalls x categories x areas x limits; -1 where there is no object.
    precision = np.asarray(evaluation.eval["precision"])[..., -1]
    thresholds = evaluation.params.iouThrs
    order = {category_id: i for i, category_id in enumerate(evaluation.params.catIds)}
    values: dict[str, Any] = {f"ap{area}": mean_of(precision[..., i]) for i, area in enumerate(_AREAS)}
    for name, threshold in (("ap50", 0.5), ("ap75", 0.75)):
        values[name] = mean_of(precision[np.isclose(thresholds, threshold)][..., 0])
    values["class_ap"] = tuple(mean_of(precision[:, :, order[each], 0]) for each in category_ids)
    return values


def _gather(
    seen: list[tuple[int, int]], found: list[Result], is_stopped: bool
) -> tuple[list[tuple[int, int]], list[Result], bool]:
    """Put together what the processes have; in the order of the images, however many there are."""
    if not in_group():
        return seen, found, is_stopped
    shares: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(shares, (seen, found, is_stopped))
    all_seen = [each for share in shares for each in share[0]]
    all_found = [result for share in shares for result in share[1]]
    all_found.sort(key=lambda result: result["image_id"])  # stable: within an image as they came
    return all_seen, all_found, any(share[2] for share in shares)


def _on_first_process(score: Callable[[], DetectionScores], device: torch.device) -> DetectionScores:
    """Score in one process, which keeps the counts by image; give all the same numbers, or the same error.

    Raises:
        Exception: What the scoring raised, in each process: none is left waiting for the others. An error
            that is no `ValueError` arrives elsewhere as a `RuntimeError` of its text: not all can be sent.
    """
    if not in_group():
        return score()
    answer: list[Any] = [None]
    own: DetectionScores | Exception | None = None
    if dist.get_rank() == 0:
        try:
            own = score()
            answer = [replace(own, images=None)]
        except ValueError as error:
            own, answer = error, [error]
        except Exception as error:
            own, answer = error, [RuntimeError(f"{type(error).__name__}: {error}")]
    dist.broadcast_object_list(answer, device=device if device.type == "cuda" else None)
    result = answer[0] if own is None else own
    if isinstance(result, Exception):
        raise result
    return result
