"""A whole comparison: what is refused before it starts, and all that it writes."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml  # type: ignore[import-untyped]
from PIL import Image

import mscsa_cli
from mscsa.assembly.weights_file import load_trained
from mscsa.compare import compare, processes
from mscsa.compare.child import Child
from mscsa.compare.compare import compare_recipe
from mscsa.compare.tables import compare_json
from mscsa.cost.model_info import count_model
from mscsa.errors import UserError
from mscsa.evaluation.image_counts import ImageCounts
from mscsa.evaluation.pixel_counts import PixelCounts, nonzero_counts
from mscsa.evaluation.top1 import Hits
from mscsa.recipes import get_recipe
from mscsa.speed import interleaved
from tests.compare.made import tiny_recipe, tiny_segmenter
from tests.data.label_maps.label_map_folder import labels_of, write_label_maps, write_pair


def test_recipe_without_mscsa_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="scenes/mscsa_resnet10t"):
        compare_recipe(get_recipe("scenes/resnet10t"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [({"num_seeds": 0}, "seeds=0"), ({"jobs": 0}, "jobs=0"), ({"block": 0}, "block=0")],
)
def test_numbers_below_one_are_refused(tmp_path: Path, number: dict[str, int], message: str) -> None:
    with pytest.raises(UserError, match=f"{message} given: give 1 or more"):
        compare_recipe(tiny_recipe(), tmp_path / "out", **number)
    assert not (tmp_path / "out").exists()


def test_necks_that_have_no_place_are_refused(tmp_path: Path) -> None:
    segmenter = tiny_segmenter()
    cases = [
        (tiny_recipe(), ["fpn"], "has no head on a pyramid for FPN: give one with a head"),
        (segmenter, ["fpm"], "no neck is called 'fpm': did you mean fpn?"),
        (
            segmenter,
            ["fpn", "mscsa"],
            "necks name mscsa, which is compared with them anyway: give some of fpn",
        ),
        (get_recipe("scenes_topformer_head/mscsa_topformer_tiny"), ["fpn"], "topformer_head on the neck fpn"),
        (
            replace(segmenter, model=replace(segmenter.model, neck="fpn")),
            [],
            "with model.neck fpn in the place of MSCSA: leave it out, and give --necks fpn",
        ),
    ]
    for recipe, necks, message in cases:
        with pytest.raises(UserError, match=message) as caught:
            compare_recipe(recipe, tmp_path / "out", necks=necks, with_control=False)
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


class InProcess:
    """Trains in this process: a start of Python for each run would be most of the test."""

    returncode = 0

    def __init__(self, arguments: list[str]) -> None:
        assert mscsa_cli.main(arguments) == 0

    def poll(self) -> int:
        return 0


def child(arguments: list[str], log: Path) -> InProcess | Child:
    """Start the first run of a classifier; the others run in this process."""
    is_first = arguments[1] == "scenes/resnet10t" and arguments[arguments.index("--run.seed") + 1] == "0"
    return Child(arguments, log) if is_first else InProcess(arguments)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, and times of no use."""
    monkeypatch.setattr(interleaved, "_ROUND_S", 0.01)
    monkeypatch.setattr(interleaved, "_WARM_UP_S", 0.01)
    monkeypatch.setattr(processes, "Child", child)


def trained(out: Path, arm: str, seeds: tuple[int, ...], metric: str) -> list[float]:
    paths = [out / arm / f"seed{seed}" / "result.json" for seed in seeds]
    return [json.loads(path.read_text())["scores"][metric] for path in paths]


def test_whole_comparison_and_more_seeds_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    out = tmp_path / "out"
    caplog.set_level(logging.INFO)
    compare_recipe(tiny_recipe(), out, num_seeds=1, jobs=2)
    first = out / "baseline" / "seed0" / "result.json"
    written = first.stat().st_mtime_ns

    compared = compare_recipe(tiny_recipe(), out, num_seeds=2, jobs=2)
    assert first.stat().st_mtime_ns == written
    assert "baseline, seed 0: finished before" in caplog.text
    assert compared.seeds == (0, 1) and list(compared.arms) == ["baseline", "mscsa"]
    assert "a classifier has no head to make wider" in compared.control_note
    baseline, with_mscsa = compared.arms.values()
    assert baseline.model == "test_resnet" and with_mscsa.model == "mscsa_test_resnet"
    assert 1.4 < with_mscsa.macs / baseline.macs <= 1.5
    assert [len(curve) for curve in with_mscsa.curves] == [2, 2]

    content = json.loads((out / "compare.json").read_text())
    assert content == json.loads(json.dumps(compare_json(compared)))
    scores = {arm: trained(out, arm, (0, 1), "top1") for arm in compared.arms}
    assert {arm: each["scores"] for arm, each in content["arms"].items()} == scores
    (contrast,) = content["comparisons"]
    assert contrast["points"] == [b - a for a, b in zip(*scores.values(), strict=True)]
    assert "2 seeds cannot reach 5 %" in content["verdict"] and content["test_images"] == 16
    with Image.open(out / "compare.png") as image:
        assert image.width >= 1000

    # What is refused after the training keeps the runs.
    with pytest.raises(UserError, match="give --block 8 or less"):
        compare_recipe(tiny_recipe(), out, num_seeds=2, block=9)
    path = out / "mscsa" / "seed1" / "last_images.npz"
    images = Hits.load(path)
    replace(images, index=images.index + 1).save(path)
    with pytest.raises(
        UserError, match="baseline, seed 0 and mscsa, seed 1 were evaluated on different images"
    ):
        compare_recipe(tiny_recipe(), out, num_seeds=2)
    assert first.stat().st_mtime_ns == written


@pytest.mark.slow
def test_three_arms_of_a_segmenter_and_the_control_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    out, recipe = tmp_path / "out", tiny_segmenter()
    caplog.set_level(logging.INFO)
    bare = compare_recipe(recipe, out, num_seeds=1, with_control=False)
    assert list(bare.arms) == ["baseline", "mscsa"] and "--no-control" in bare.control_note
    assert not (out / "control").exists()

    compared = compare_recipe(recipe, out, num_seeds=1)
    assert list(compared.arms) == ["baseline", "control", "mscsa"]
    assert caplog.text.count("finished before") == 2 and "control, seed 0: started" in caplog.text
    baseline, control, with_mscsa = compared.arms.values()
    assert baseline.macs < with_mscsa.macs <= control.macs
    assert control.model == "test_resnet, wider head"
    settings = yaml.safe_load((out / "control/seed0/config.yaml").read_text())["model"]
    assert settings["head_kwargs"]["fpn_channels"] == settings["head_kwargs"]["head_channels"] > 8
    assert settings["mscsa"] is None and settings["budget"] is None
    for timings in (each.timings for each in compared.latency):
        assert len(timings) == 3
    assert compared.machine["folded"]
    for result in compared.arms.values():
        (classes,) = result.class_scores[compared.metric]
        assert len(classes) == len(compared.class_names)
        known = [score for score in classes if score is not None]
        assert np.mean(known) == pytest.approx(result.scores[0])

    # The scores of all images once are those that the runs reported: the bootstrap draws from the same.
    for arm, result in compared.arms.items():
        images = PixelCounts.load(out / arm / "seed0" / "last_images.npz")
        assert images.scores(np.ones((1, 8), np.int64))[0] == pytest.approx(result.scores[0])
    assert [each.image_interval[0] <= each.image_interval[1] for each in compared.contrasts] == [True] * 3


@pytest.mark.slow
def test_a_neck_joins_a_finished_comparison(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    """Runs of two steps, on scenes."""
    out, recipe = tmp_path / "out", tiny_segmenter()
    caplog.set_level(logging.INFO)
    compare_recipe(recipe, out, num_seeds=1, with_control=False)
    compared = compare_recipe(recipe, out, num_seeds=1, with_control=False, necks=["fpn"])
    assert caplog.text.count("finished before") == 2 and "fpn, seed 0: started" in caplog.text
    assert list(compared.arms) == ["baseline", "fpn", "mscsa"]
    baseline, fpn, with_mscsa = compared.arms.values()
    assert baseline.macs < with_mscsa.macs <= fpn.macs < 1.02 * with_mscsa.macs
    assert fpn.model == "test_resnet + FPN"
    assert compared.neck_notes["fpn"].startswith("FPN: channels ") and "FPN: channels" in caplog.text
    content = json.loads((out / "compare.json").read_text())
    assert [(each["of"], each["against"]) for each in content["comparisons"]] == [
        *(("mscsa", "baseline"), ("mscsa", "fpn"), ("fpn", "baseline"))
    ]
    assert content["recipes"]["fpn"]["model"]["neck"] == "fpn"
    settings = yaml.safe_load((out / "fpn/seed0/config.yaml").read_text())["model"]
    assert (settings["neck"], settings["mscsa"], settings["budget"]) == ("fpn", None, None)
    assert f"channels {settings['neck_kwargs']['channels']}," in content["necks"]["fpn"]
    with Image.open(out / "examples.png") as image:
        assert image.width > 500
    # The model is built again from its file alone.
    assert count_model(load_trained(out / "fpn/seed0/last.safetensors")[0], (32, 32)) == fpn.macs


@pytest.mark.slow
def test_a_variant_joins_and_weights_may_be_deleted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, quick: None
) -> None:
    out, recipe = tmp_path / "out", tiny_segmenter()
    caplog.set_level(logging.INFO)
    compare_recipe(recipe, out, num_seeds=1, with_control=False, with_latency=False)
    (out / "examples.png").unlink()
    (out / "baseline/seed0/last.safetensors").unlink()
    variants = {"single": {"downsampling": "single_dwconv"}, "dear": {"budget": 0.9}}

    def again(**options: Any) -> Any:
        return compare_recipe(recipe, out, num_seeds=1, with_control=False, variants=variants, **options)

    compared = again(with_latency=False)
    assert list(compared.arms) == ["baseline", "single", "dear", "mscsa"]
    assert not compared.latency and not (out / "examples.png").exists()
    assert "no examples are drawn" in caplog.text and caplog.text.count("finished before") == 2
    baseline, single, dear, with_mscsa = compared.arms.values()
    assert baseline.macs < 0.95 * with_mscsa.macs and abs(single.macs / with_mscsa.macs - 1) < 0.1
    assert dear.macs > 1.1 * with_mscsa.macs and single.model == "mscsa_test_resnet, single"
    settings = yaml.safe_load((out / "single/seed0/config.yaml").read_text())["model"]
    assert settings["mscsa"]["downsampling"] == "single_dwconv" and settings["budget"] == 0.5
    assert yaml.safe_load((out / "dear/seed0/config.yaml").read_text())["model"]["budget"] == 0.9
    content = json.loads((out / "compare.json").read_text())
    assert content["variants"]["single"].startswith("single: downsampling single_dwconv; ")
    assert content["latency"] == []
    with pytest.raises(UserError, match="was to be measured, which is not there: give --no-latency"):
        again()


def check_data(images: list[ImageCounts], data: Sequence[dict[str, str] | None] = (None,) * 3) -> None:
    """Set runs of three arms side by side, which counted so and were trained on such data."""
    arms = ("baseline", "fpn", "mscsa")
    runs: Any = {
        arm: [SimpleNamespace(label=arm, folder=Path(arm), result={"data": each} if each else {})]
        for arm, each in zip(arms, data, strict=True)
    }
    compare._check_same_data(runs, {arm: [each] for arm, each in zip(arms, images, strict=True)})


def test_runs_on_other_labels_are_not_set_side_by_side() -> None:
    def counted(label: int) -> PixelCounts:
        matrix = torch.zeros(2, 3, dtype=torch.int64)
        matrix[label, 0] = 5
        return PixelCounts.of([(0, nonzero_counts(matrix))], 2)

    check_data([counted(1)] * 3)
    with pytest.raises(UserError, match="baseline and mscsa were evaluated on different labels"):
        check_data([counted(1), counted(1), counted(0)])


def test_classes_of_images_are_compared_where_they_were_kept() -> None:
    index, hits = np.arange(2), np.array([True, False])
    older, one, other = Hits(index, hits), Hits(index, hits, index), Hits(index, hits, index[::-1])
    check_data([older, one, one])
    with pytest.raises(UserError, match="fpn and mscsa were evaluated on different labels"):
        check_data([older, one, other])
    with pytest.raises(UserError, match="baseline and mscsa were evaluated on different images"):
        check_data([older, one, replace(one, index=index + 1)])


@pytest.mark.parametrize(
    ("changed", "how"),
    [("train_files", "trained"), ("val_files", "evaluated"), ("class_names", "trained")],
)
def test_runs_on_other_files_are_not_set_side_by_side(changed: str, how: str) -> None:
    images: list[ImageCounts] = [Hits(np.arange(2), np.array([True, False]))] * 3
    data = {"class_names": "a", "train_files": "b", "val_files": "c"}
    check_data(images, (data, data, data))
    check_data(images, (None, data, data))
    message = (
        f"the runs fpn and mscsa were {how} on different images or labels: the data set has changed "
        "between them; remove mscsa or fpn and compare again"
    )
    with pytest.raises(UserError, match=f"^{message}$"):
        check_data(images, (None, data, {**data, changed: "d"}))


@pytest.mark.slow
def test_images_that_are_added_between_two_seeds_are_seen(tmp_path: Path, quick: None) -> None:
    root = write_label_maps(tmp_path / "maps")
    recipe = tiny_segmenter()
    data = replace(recipe.data, kind="masks", root=str(root), num_classes=None, batch_size=4)
    recipe, options = replace(recipe, data=data), {"with_control": False, "with_latency": False}
    compare_recipe(recipe, tmp_path / "out", num_seeds=1, **options)
    write_pair(root / "images/train", root / "labels/train", "later", labels_of(4))
    with pytest.raises(UserError, match="baseline, seed 0 and baseline, seed 1 were trained on different"):
        compare_recipe(recipe, tmp_path / "out", num_seeds=2, **options)
