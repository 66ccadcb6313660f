"""COCO's AP: equal to pycocotools, each image once, and right on cases worked out by hand."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor, nn

from mscsa.data.coco.dataset import CocoDetection
from mscsa.data.coco.masks import decode_segmentation, encode_masks
from mscsa.data.sampler import EvalSampler
from mscsa.data.transforms.detection import EvaluatedObjects
from mscsa.errors import UserError
from mscsa.evaluation.coco_ap import (
    DetectionScores,
    InstanceScores,
    coco_results,
    measure_detection,
    score_results,
)
from mscsa.evaluation.detections import Detections
from mscsa.evaluation.matches import Matches
from tests.data.coco.coco_folder import edit, write_coco
from tests.evaluation.process_groups import run_group

NAMES = ("ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large")
CATEGORY_IDS = (3, 1, 8)
"""Not in order: labels 1, 2, 3."""
SIZE = (120, 160)


class Truth:
    """What `measure_detection` asks of a data set."""

    class_names = ["a", "b", "c"]
    category_ids = list(CATEGORY_IDS)

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content

    def ground_truth(self) -> dict[str, Any]:
        return self.content


def make_case(seed: int, *, crowds: bool = True, ties: bool = True) -> tuple[dict[str, Any], list[Any]]:
    """Objects of all sizes, crowds, images without objects and without detections, equal scores."""
    rng = np.random.default_rng(seed)
    images = [{"id": 50 + 2 * i, "height": SIZE[0], "width": SIZE[1], "file_name": ""} for i in range(12)]
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for i, image in enumerate(images):
        if i == 3:
            continue  # neither objects nor detections
        for _ in range(int(rng.integers(1, 6)) if i != 5 else 0):
            box = random_box(rng)
            mask = ellipse(box)
            is_crowd = crowds and rng.random() < 0.15
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image["id"],
                    "category_id": int(rng.choice(CATEGORY_IDS[:2])),
                    "bbox": box,
                    "area": int(mask.sum()),
                    "iscrowd": int(is_crowd),
                    "segmentation": encode_masks(mask[None])[0],
                }
            )
        if i == 7:
            continue  # no detections
        own = [each for each in annotations if each["image_id"] == image["id"]]
        for annotation in own + own[:2]:
            moved = (np.array(annotation["bbox"]) + rng.normal(0, 2.5, 4)).clip(1, None).tolist()
            results.append(result(image["id"], annotation["category_id"], moved, rng.random()))
        for _ in range(int(rng.integers(0, 5))):
            results.append(result(image["id"], int(rng.choice(CATEGORY_IDS)), random_box(rng), rng.random()))
    if ties:
        for each in results:
            each["score"] = round(each["score"], 1)
    categories = [{"id": each, "name": str(each)} for each in sorted(CATEGORY_IDS)]
    return {"images": images, "annotations": annotations, "categories": categories}, results


def random_box(rng: np.random.Generator) -> list[float]:
    width, height = np.exp(rng.uniform(np.log(6), np.log(110), 2))
    return [
        float(each) for each in (rng.uniform(0, 160 - width), rng.uniform(0, 120 - height), width, height)
    ]


def ellipse(box: Sequence[float]) -> np.ndarray:
    x, y, width, height = box
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    return ((columns - x - width / 2) * 2 / width) ** 2 + ((rows - y - height / 2) * 2 / height) ** 2 <= 1


def result(image_id: int, category_id: int, box: list[float], score: float) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "category_id": category_id,
        "bbox": box,
        "score": float(score),
        "segmentation": encode_masks(ellipse(box)[None])[0],
    }


def by_pycocotools(truth: dict[str, Any], results: list[Any], kind: str, limit: int = 100) -> list[float]:
    with contextlib.redirect_stdout(io.StringIO()):
        reference = COCO()
        reference.dataset = json.loads(json.dumps(truth)) | {"info": {}}
        reference.createIndex()
        kept = ("image_id", "category_id", "score", "bbox" if kind == "bbox" else "segmentation")
        found = reference.loadRes([{key: each[key] for key in kept} for each in results])
        evaluation = COCOeval(reference, found, kind)
        evaluation.params.maxDets = [1, 10, limit]
        evaluation.evaluate()
        evaluation.accumulate()
        if limit == 100:
            evaluation.summarize()
            return list(evaluation.stats[:6])
        precision = evaluation.eval["precision"][..., -1]
        return [float(precision[precision > -1].mean()) if i == 0 else np.nan for i in range(6)]


@pytest.mark.parametrize("seed", range(6))
def test_equal_to_pycocotools(seed: int) -> None:
    truth, results = make_case(seed)
    image_ids = [each["id"] for each in truth["images"]]
    scores = score_results(truth, results, Truth(truth), image_ids, 100, True)  # type: ignore[arg-type]
    assert isinstance(scores, InstanceScores)
    for prefix, kind in (("", "bbox"), ("mask_", "segm")):
        for name, expected in zip(NAMES, by_pycocotools(truth, results, kind), strict=True):
            found = getattr(scores, prefix + name)
            assert (-1 if found is None else found / 100) == pytest.approx(expected, abs=1e-6), name
    known = [each for each in scores.class_ap if each is not None]
    assert scores.ap == pytest.approx(np.mean(known))
    assert scores.class_ap[2] is None  # category 8 has no object
    assert scores.num_samples == 12


@pytest.mark.parametrize("limit", [100, 300])
def test_more_than_a_hundred_objects(limit: int) -> None:
    """With the detector's own limit above COCO's 100, all of them count."""
    rng = np.random.default_rng(1)
    grid = [[4.0 + 10 * (i % 15), 3.0 + 10 * (i // 15), 7.0, 7.0] for i in range(150)]
    annotations = [
        {"id": i + 1, "image_id": 1, "category_id": 3, "bbox": box, "area": 49, "iscrowd": 0}
        for i, box in enumerate(grid)
    ]
    truth = {
        "images": [{"id": 1, "height": 120, "width": 160}],
        "annotations": annotations,
        "categories": [{"id": each, "name": str(each)} for each in sorted(CATEGORY_IDS)],
    }
    results = [{"image_id": 1, "category_id": 3, "bbox": box, "score": float(rng.random())} for box in grid]
    scores = score_results(truth, results, Truth(truth), [1], limit, False)  # type: ignore[arg-type]
    assert scores.ap / 100 == pytest.approx(by_pycocotools_boxes(truth, results, limit), abs=1e-6)
    assert (scores.ap > 99.9) == (limit > 150)


def by_pycocotools_boxes(truth: dict[str, Any], results: list[Any], limit: int) -> float:
    return by_pycocotools(truth, results, "bbox", limit)[0]


def test_nothing_found_and_nothing_there() -> None:
    truth, _ = make_case(0)
    scores = score_results(truth, [], Truth(truth), [50, 52], 100, True)  # type: ignore[arg-type]
    assert (scores.ap, scores.ap50, scores.num_samples) == (0.0, 0.0, 2)
    empty = {**truth, "annotations": []}
    with pytest.raises(ValueError, match="no image of the validation set has an object"):
        score_results(empty, [], Truth(empty), [50], 100, False)  # type: ignore[arg-type]


class Recalls(nn.Module):
    """A detector that gives what it is told, for images that hold their own number."""

    def __init__(self, found: dict[int, Detections], with_masks: bool, factor: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.found = found
        self.with_masks = with_masks
        self.factor = factor
        self.detections_per_img = 100

    def forward(self, images: list[Tensor]) -> list[dict[str, Tensor]]:
        assert not self.training
        answers = []
        for image in images:
            each = self.found[int(image[0, 0, 0])]
            answer = {
                "boxes": torch.from_numpy(each.boxes) * self.factor,
                "labels": torch.from_numpy(each.labels),
                "scores": torch.from_numpy(each.scores),
            }
            if self.with_masks and each.masks is not None:
                dense = np.array([decode_segmentation(mask, SIZE) for mask in each.masks], np.float32)
                masks = torch.from_numpy(dense.reshape(-1, *SIZE)).repeat_interleave(self.factor, 1)
                answer["masks"] = masks.repeat_interleave(self.factor, 2)[:, None]
            answers.append(answer)
        return answers


def recalled(truth: dict[str, Any], results: list[Any]) -> dict[int, Detections]:
    label_of = {category_id: i + 1 for i, category_id in enumerate(CATEGORY_IDS)}
    found = {}
    for image in truth["images"]:
        own = sorted((r for r in results if r["image_id"] == image["id"]), key=lambda r: -r["score"])
        boxes = np.array([each["bbox"] for each in own], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        found[image["id"]] = Detections(
            boxes=boxes,
            labels=np.array([label_of[each["category_id"]] for each in own], np.int64),
            scores=np.array([each["score"] for each in own], np.float32),
            masks=tuple(each["segmentation"] for each in own),
        )
    return found


def batches(truth: dict[str, Any], factor: int, rank: int = 0, world_size: int = 1) -> list[Any]:
    images = truth["images"]
    places = list(EvalSampler(len(images), rank, world_size))
    chosen = [images[i] for i in places]
    size = (factor * SIZE[0], factor * SIZE[1])
    return [
        (
            [torch.full((3, *size), float(each["id"])) for each in chosen[first : first + 2]],
            [{"image_id": each["id"], "size": SIZE} for each in chosen[first : first + 2]],
            torch.tensor(places[first : first + 2]),
        )
        for first in range(0, len(chosen), 2)
    ]


def test_detections_are_scored_in_the_images_own_pixels(tmp_path: Path) -> None:
    """The model sees images of twice the size; what it finds there is brought back, and written."""
    truth, results = make_case(2, ties=False)
    model = Recalls(recalled(truth, results), True, 2).train()
    file = tmp_path / "results.json"
    scores = measure_detection(
        model,
        batches(truth, 2),
        dataset=Truth(truth),  # type: ignore[arg-type]
        device=torch.device("cpu"),
        with_masks=True,
        results=file,
    )
    assert model.training
    assert isinstance(scores, InstanceScores)
    masks = json.loads((tmp_path / "results_masks.json").read_text())
    assert len(masks) == len(results) and not any("bbox" in each for each in masks)
    for prefix, kind, written in (("", "bbox", json.loads(file.read_text())), ("mask_", "segm", masks)):
        assert len(written) == len(results) and ("segmentation" in written[0]) == (kind == "segm")
        for name, expected in zip(NAMES, by_pycocotools(truth, written, kind), strict=True):
            found = getattr(scores, prefix + name)
            assert (-1 if found is None else found / 100) == pytest.approx(expected, abs=1e-6)
        # float32 boxes and masks apart from the raw ones by nothing that counts
        assert getattr(scores, prefix + "ap") == pytest.approx(
            100 * by_pycocotools(truth, results, kind)[0], abs=0.01
        )


def test_boxes_are_written_as_coco_does() -> None:
    found = Detections(
        boxes=np.array([[1, 2, 4, 8]], np.float32), labels=np.array([2]), scores=np.array([0.5], np.float32)
    )
    assert coco_results(9, found, CATEGORY_IDS) == [
        {"image_id": 9, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 6.0], "score": 0.5}
    ]


def test_a_stop_gives_no_score() -> None:
    truth, results = make_case(0)
    model = Recalls(recalled(truth, results), False, 1)
    loader = batches(truth, 1)
    assert (
        measure_detection(
            model,
            loader,
            dataset=Truth(truth),  # type: ignore[arg-type]
            device=torch.device("cpu"),
            with_masks=False,
            stop=lambda: True,
        )
        is None
    )
    with pytest.raises(ValueError, match="validation set is empty"):
        measure_detection(
            model,
            [],
            dataset=Truth(truth),  # type: ignore[arg-type]
            device=torch.device("cpu"),
            with_masks=False,
        )


def _measure_share(rank: int, size: int, folder: Path) -> None:
    truth, results = make_case(4)
    truth["images"] = truth["images"][:11]  # odd: the processes have different shares
    image_ids = {each["id"] for each in truth["images"]}
    truth["annotations"] = [each for each in truth["annotations"] if each["image_id"] in image_ids]
    scores = measure_detection(
        Recalls(recalled(truth, results), True, 1),
        batches(truth, 1, rank, size),
        dataset=Truth(truth),  # type: ignore[arg-type]
        device=torch.device("cpu"),
        with_masks=True,
        results=folder / f"results{size}.json",
        with_images=True,
    )
    assert scores is not None
    assert (scores.images is not None) == (rank == 0)
    if scores.images is not None:
        scores.images.save(folder / f"images{size}.npz")
    (folder / f"scores{size}_{rank}.txt").write_text(repr(scores))


def test_two_processes_give_what_one_gives(tmp_path: Path) -> None:
    for world_size in (1, 2):
        run_group(_measure_share, world_size, tmp_path)
    texts = {path.name: path.read_text() for path in tmp_path.glob("scores*")}
    assert texts["scores1_0.txt"] == texts["scores2_0.txt"] == texts["scores2_1.txt"]
    assert "num_samples=11" in texts["scores1_0.txt"]
    images = [Matches.load(tmp_path / f"images{n}.npz") for n in (1, 2)]
    for name in ("index", "image", "label", "score", "is_match", "is_ignored", "objects"):
        assert np.array_equal(*(getattr(each, name) for each in images)), name
    assert images[0].index.tolist() == list(range(11))
    one, two = (json.loads((tmp_path / f"results{n}.json").read_text()) for n in (1, 2))
    key = lambda each: (each["image_id"], each["score"], each["bbox"])  # noqa: E731
    assert sorted(one, key=key) == sorted(two, key=key)


def _measure_nothing(rank: int, size: int, folder: Path) -> None:
    truth, results = make_case(4)
    empty = Truth({**truth, "annotations": []})
    try:
        measure_detection(
            Recalls(recalled(truth, results), False, 1),
            batches(truth, 1, rank, size),
            dataset=empty,  # type: ignore[arg-type]
            device=torch.device("cpu"),
            with_masks=False,
        )
    except ValueError as error:
        (folder / f"error{rank}.txt").write_text(str(error))


def test_an_error_of_the_scoring_process_ends_all(tmp_path: Path) -> None:
    run_group(_measure_nothing, 2, tmp_path)
    texts = [(tmp_path / f"error{rank}.txt").read_text() for rank in (0, 1)]
    assert texts[0] == texts[1] and "has an object" in texts[0]


def _fail_to_score(rank: int, size: int, folder: Path) -> None:
    truth, results = make_case(4)
    odd = Truth({**truth, "annotations": [{**each, "bbox": None} for each in truth["annotations"]]})
    try:
        measure_detection(
            Recalls(recalled(truth, results), False, 1),
            batches(truth, 1, rank, size),
            dataset=odd,  # type: ignore[arg-type]
            device=torch.device("cpu"),
            with_masks=False,
        )
    except Exception as error:
        (folder / f"fault{rank}.txt").write_text(type(error).__name__)


def test_a_fault_of_the_scoring_process_ends_all_too(tmp_path: Path) -> None:
    """Whatever its kind: the others would wait for its answer."""
    run_group(_fail_to_score, 2, tmp_path)
    first, second = ((tmp_path / f"fault{rank}.txt").read_text() for rank in (0, 1))
    assert first not in ("ValueError", "RuntimeError") and second == "RuntimeError"


def test_ids_are_names_and_nothing_else() -> None:
    """The evaluation by itself takes 0 for none, joins what shares an id, and fails below 0."""
    truth, results = make_case(1)
    ids = [each["id"] for each in truth["images"]]

    def scores(annotation_id: Callable[[int], int], image_shift: int, category_shift: int) -> DetectionScores:
        def new(entry: dict[str, Any]) -> dict[str, Any]:
            return {
                **entry,
                "image_id": entry["image_id"] + image_shift,
                "category_id": entry["category_id"] + category_shift,
            }

        content = {
            "images": [{**each, "id": each["id"] + image_shift} for each in truth["images"]],
            "annotations": [new({**each, "id": annotation_id(each["id"])}) for each in truth["annotations"]],
            "categories": [{**each, "id": each["id"] + category_shift} for each in truth["categories"]],
        }
        dataset = Truth(content)
        dataset.category_ids = [each + category_shift for each in CATEGORY_IDS]
        found = [new(each) for each in results]
        return score_results(content, found, dataset, [each + image_shift for each in ids], 100, True)  # type: ignore[arg-type]

    plain = scores(lambda each: each, 0, 0)
    assert scores(lambda each: each - 1, -50, -1) == plain
    assert scores(lambda each: each % 3, -(10**9), -100) == plain
    assert scores(lambda each: each + 2**60, 2**62, 2**53) == plain


def _as_floats(content: dict[str, Any]) -> None:
    for each in (*content["images"], *content["categories"]):
        each["id"] = float(each["id"])
    for each in content["annotations"]:
        each.update(id=float(each["id"]), iscrowd=float(each["iscrowd"]), area=None)
        each.update(image_id=str(each["image_id"]), category_id=str(each["category_id"]))


def _odd_boxes(content: dict[str, Any]) -> None:
    content["annotations"][0].update(bbox=[-6, 5, 38, 10], id=0, iscrowd=None)
    content["annotations"][1].update(bbox=["55", "35", "21", "21"], id=0)
    for each in content["images"]:
        each.update(height=float(each["height"]), width=str(each["width"]))
    content["annotations"].append({**content["annotations"][0], "bbox": [5, 5, 0, 0]})


@pytest.mark.parametrize("change", [lambda _: None, _as_floats, _odd_boxes])
def test_a_perfect_detector_gets_100(tmp_path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Of every file that opens, boxes and masks."""
    root = write_coco(tmp_path / "coco")
    edit(root, change, "val")
    transform = EvaluatedObjects(64, 100)
    dataset = CocoDetection(root, "val", transform, 0, with_masks=True)
    truth = dataset.ground_truth()
    found = [
        {
            **each,
            "score": 0.9,
            "segmentation": encode_masks(decode_segmentation(each["segmentation"], size)[None])[0],
        }
        for each in truth["annotations"]
        for size in [next((i["height"], i["width"]) for i in truth["images"] if i["id"] == each["image_id"])]
        if not each["iscrowd"]
    ]
    ids = [each["id"] for each in truth["images"]]
    scores = score_results(truth, found, dataset, ids, 100, True)
    assert isinstance(scores, InstanceScores)
    assert scores.ap == scores.mask_ap == scores.ap75 == 100


def test_an_image_counts_once() -> None:
    truth, results = make_case(0)
    with pytest.raises(ValueError, match="evaluated twice: give each process samples of its own"):
        measure_detection(
            Recalls(recalled(truth, results), False, 1),
            batches(truth, 1) + batches(truth, 1)[:1],
            dataset=Truth(truth),  # type: ignore[arg-type]
            device=torch.device("cpu"),
            with_masks=False,
        )


def test_without_the_package_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, results = make_case(0)
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    with pytest.raises(UserError, match=r"pip install 'mscsa\[detection\]'"):
        score_results(truth, results, Truth(truth), [50], 100, False)  # type: ignore[arg-type]


def test_scores_say_what_they_are() -> None:
    assert tuple(DetectionScores.LABELS) == NAMES
    assert tuple(InstanceScores.LABELS) == (*NAMES, *(f"mask_{name}" for name in NAMES))
