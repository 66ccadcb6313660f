"""A frozen backbone whose maps are kept: the model says what it says of images; what cannot be kept."""

from __future__ import annotations

import copy
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from mscsa.assembly.build import build_model
from mscsa.assembly.weights_file import load_trained
from mscsa.backbones.timm_pyramid import read_pyramid
from mscsa.data.contract import with_transform
from mscsa.data.datasets import build_datasets, class_names_of
from mscsa.data.sampler import SampleKey
from mscsa.data.transforms.detection import build_object_variants
from mscsa.errors import UserError
from mscsa.evaluation.evaluate import evaluate
from mscsa.frozen.backbone import cache_folder, freeze_backbone, frozen_prefix, prepare
from mscsa.recipes.arms import baseline_of
from mscsa.recipes.spec import Recipe
from mscsa.training.run import train
from tests.data.coco.coco_folder import write_coco
from tests.data.label_maps.label_map_folder import write_label_maps
from tests.detection.small import DETECTORS, wake
from tests.frozen.frozen_recipe import NECKS, backbone_file, frozen_detection, frozen_recipe

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def built(recipe: Recipe) -> tuple[Any, Any]:
    torch.manual_seed(1)
    num_classes = len(class_names_of(recipe.data))
    model: Any = build_model(recipe.model, num_classes, input_size=recipe.data.input_size)
    cfg = dict(model.pretrained_cfg)
    with_masks = recipe.model.task == "instance_segmentation"
    return model, build_datasets(recipe.data, recipe.augment, cfg, 0, with_masks=with_masks)


@pytest.mark.parametrize("neck", NECKS)
def test_a_model_says_the_same_of_kept_maps_as_of_images(tmp_path: Path, neck: str | None) -> None:
    """80 px are no multiple of the deepest stride: padding is the same, too."""
    model, sets = built(frozen_recipe(backbone_file(tmp_path), neck=neck))
    model.eval()
    with torch.no_grad():
        expected = [model(sets[1][i][0][None]) for i in range(3)]
        kept = freeze_backbone(model, frozen_recipe(backbone_file(tmp_path)), sets)[1]
        found = [model(kept[i][0][None]) for i in range(3)]
    for ours, theirs, i in zip(found, expected, range(3), strict=True):
        assert (ours - theirs).abs().max() < 5e-3 * theirs.abs().max()  # half precision
        assert torch.equal(kept[i][1], sets[1][i][1])


def detectors(recipe: Recipe) -> tuple[Any, Any, Any, Any]:
    """A detector with its maps in half precision, one that reads kept maps, and the data sets of each."""
    plain, sets = built(recipe)
    wake(plain)
    frozen = copy.deepcopy(plain)
    kept = freeze_backbone(frozen, recipe, sets)
    backbone = plain.pyramid.backbone
    plain.pyramid.reading = lambda x, indices: [
        each.half().float() for each in read_pyramid(backbone, x, list(indices))
    ]
    return plain, frozen, sets, kept


def assert_same(found: Any, expected: Any) -> None:
    assert found.keys() == expected.keys() and len(found)
    for name, value in expected.items():
        # Boxes are in pixels. A mask is pasted at its box to parts of one: what is allowed to a box moves it.
        assert_close(found[name], value, atol=1e-3 if name in ("boxes", "masks") else 1e-5, rtol=1e-4)


def assert_reads_as_images(recipe: Recipe) -> None:
    """A detector's losses and detections of kept maps are those of the images."""
    plain, frozen, sets, kept = detectors(recipe)
    variants = build_object_variants(recipe.data, recipe.augment)  # type: ignore[arg-type]
    seen = set()
    for position in range(8):
        index = position % len(sets[0])
        image, target, _ = kept[0][SampleKey(0, position, index)]
        variant = int(image[0, 0, 0]) // len(sets[0])
        pixels, expected, _ = with_transform(sets[0], variants[variant])[index]
        torch.manual_seed(position)
        losses = plain.train()([pixels], [expected])
        torch.manual_seed(position)
        assert_same(frozen.train()([image], [target]), losses)
        seen.add(variant)
    assert len(seen) > 1
    with torch.no_grad():
        for index in range(len(sets[1])):
            (found,), (expected,) = (
                each.eval()([dataset[index][0]]) for each, dataset in ((frozen, kept[1]), (plain, sets[1]))
            )
            assert len(expected["boxes"])
            assert_same(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("detector", DETECTORS)
def test_a_detector_says_the_same_of_kept_maps_as_of_images(tmp_path: Path, detector: str) -> None:
    assert_reads_as_images(frozen_detection(detector, backbone_file(tmp_path), short_sides=(64, 96)))


@pytest.mark.slow
@pytest.mark.parametrize("neck", NECKS)
def test_so_it_does_of_photographs_of_any_size(tmp_path: Path, neck: str | None) -> None:
    """Sizes are no multiples of the deepest stride: the padding of normalised images is the same, too."""
    recipe = frozen_detection("mask_rcnn", backbone_file(tmp_path), neck=neck)
    data = replace(recipe.data, kind="coco", root=str(write_coco(tmp_path / "coco")), batch_size=2)
    assert_reads_as_images(replace(recipe, data=data))


def test_the_padding_of_a_batch_is_read_as_nothing(tmp_path: Path) -> None:
    recipe = frozen_detection("retinanet", backbone_file(tmp_path))
    data = replace(recipe.data, kind="coco", root=str(write_coco(tmp_path / "coco")), batch_size=2)
    _, frozen, _, kept = detectors(replace(recipe, data=data))
    images = [kept[1][index][0] for index in range(4)]
    assert len({image.shape for image in images}) == 4
    batch = frozen.net.transform(images)[0].tensors
    maps = frozen.pyramid.read(batch, [2, 3])
    for row, image in enumerate(images):
        alone = frozen.pyramid.read(frozen.net.transform([image])[0].tensors, [2, 3])
        for x, whole in zip(alone, maps, strict=True):
            height, width = x.shape[-2:]
            assert torch.equal(whole[row, :, :height, :width], x[0]) and x.any()
            assert not whole[row, :, height:].any() and not whole[row, ..., width:].any()


def test_variants_are_scales_and_mirror_images(tmp_path: Path) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path), scale=(0.5, 1.5), hflip=0.5)
    model, sets = built(recipe)
    train_set, val_set = freeze_backbone(model, recipe, sets)
    sizes = train_set.store.sizes
    assert len(sizes) == 8 * 6 + 3
    assert sizes[::8][:6] == [(40, 40)] * 2 + [(80, 80)] * 2 + [(120, 120)] * 2
    plain, mirrored = train_set.store.labels_of(16), train_set.store.labels_of(24)
    assert (plain == mirrored[:, ::-1]).all() and not (plain == mirrored).all()
    assert len(val_set) == 3


def test_maps_are_found_again(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    prepare(recipe)
    (folder,) = (cache / "frozen").iterdir()
    monkeypatch.setattr("mscsa.frozen.backbone.write_store", None)  # whoever computed again would fail
    prepare(recipe)
    prepare(
        baseline_of(replace(recipe, model=replace(recipe.model, baseline_checkpoint=recipe.model.checkpoint)))
    )
    prepare(replace(recipe, data=replace(recipe.data, image_size=64, batch_size=2)))
    prepare(frozen_recipe(recipe.model.checkpoint, neck="fpn"))
    assert list((cache / "frozen").iterdir()) == [folder]


@pytest.mark.parametrize("part", ["weights", "size", "scale", "layers"])
def test_other_maps_are_others(tmp_path: Path, cache: Path, part: str) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    prepare(recipe)
    changed = {
        "weights": replace(recipe, model=replace(recipe.model, checkpoint=backbone_file(tmp_path, 1))),
        "size": replace(recipe, data=replace(recipe.data, short_side=96, long_side=96)),
        "scale": frozen_recipe(backbone_file(tmp_path), scale=(0.5, 1.0)),
        # The same weights in other layers.
        "layers": replace(recipe, model=replace(recipe.model, backbone_kwargs={"act_layer": "silu"})),
    }[part]
    prepare(changed)
    assert len(list((cache / "frozen").iterdir())) == 2


@pytest.mark.parametrize("neck", ["mscsa", "fpn"])
def test_a_run_trains_neck_and_head_and_leaves_the_backbone(tmp_path: Path, neck: str) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path), neck=neck)
    result = train(recipe, tmp_path / "run")
    start, _ = built(recipe)
    trained, info = load_trained(tmp_path / "run" / "last.safetensors")
    assert not info.model.frozen
    before, after = start.state_dict(), trained.state_dict()
    prefix = frozen_prefix(start)
    assert prefix == "backbone.backbone"
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith(f"{prefix}.")} <= same
    trains = {name for name, _ in start.named_parameters() if not name.startswith(f"{prefix}.")}
    assert not trains & same
    of_neck = "backbone.mscsa." if neck == "mscsa" else "backbone.neck."
    assert any(name.startswith(of_neck) for name in trains)
    scores = evaluate(tmp_path / "run" / "last.safetensors").scores
    assert scores.miou == pytest.approx(result.scores["miou"], abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("detector", ["mask_rcnn", "retinanet"])
def test_a_run_trains_a_detector_and_leaves_the_backbone(tmp_path: Path, detector: str) -> None:
    recipe = frozen_detection(detector, backbone_file(tmp_path), short_sides=(48, 64))
    result = train(recipe, tmp_path / "run")
    start, _ = built(recipe)
    trained, _ = load_trained(tmp_path / "run" / "last.safetensors")
    before, after = start.state_dict(), trained.state_dict()
    same = {name for name in before if torch.equal(before[name], after[name])}
    prefix = f"{frozen_prefix(start)}."
    assert prefix == "net.backbone.body.backbone."
    assert {name for name in before if name.startswith(prefix)} <= same
    assert any("mscsa" in name for name in before.keys() - same)
    assert any("fpn" in name for name in before.keys() - same)
    scores = evaluate(tmp_path / "run" / "last.safetensors").scores
    assert scores.ap == pytest.approx(result.scores["ap"], abs=0.5)


def test_a_neck_is_given_the_maps_of_the_plain_backbone(tmp_path: Path) -> None:
    read = []
    for neck in ("fpn", None):
        recipe = frozen_recipe(backbone_file(tmp_path), neck=neck)
        model, sets = built(recipe)
        kept = freeze_backbone(model, recipe, sets)[1]
        levels = [level.index for level in model.backbone.levels if level.stride >= 4]
        read.append([model.backbone.read(kept[i][0][None], levels) for i in range(3)])
    for of_neck, plain in zip(*read, strict=True):
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(of_neck, plain, strict=True))


def test_detectors_of_boxes_and_of_masks_read_the_same_maps(tmp_path: Path, cache: Path) -> None:
    for detector in ("retinanet", "mask_rcnn"):
        prepare(frozen_detection(detector, backbone_file(tmp_path)))
    assert len(list((cache / "frozen").iterdir())) == 1
    prepare(frozen_detection("retinanet", backbone_file(tmp_path), short_sides=(48, 64)))
    assert len(list((cache / "frozen").iterdir())) == 2


def test_other_photographs_are_other_maps(tmp_path: Path, cache: Path) -> None:
    root = write_coco(tmp_path / "coco")
    recipe = frozen_detection("retinanet", backbone_file(tmp_path))
    recipe = replace(recipe, data=replace(recipe.data, kind="coco", root=str(root), batch_size=2))
    prepare(recipe)
    Image.new("RGB", (80, 60), "red").save(root / "train" / "100.png")
    prepare(recipe)
    assert len(list((cache / "frozen").iterdir())) == 2


def frozen_folder(folder: Path, **data: Any) -> Recipe:
    """A recipe on label maps of a folder, of the values 0, 1, 2 and 255."""
    recipe = frozen_recipe(backbone_file(folder), hflip=0.0)
    places = {"kind": "masks", "root": str(folder / "maps"), "image_size": 32}
    return replace(recipe, data=replace(recipe.data, **{**places, **data}))


def test_labels_are_those_of_the_table_of_classes_as_it_is_now(tmp_path: Path, cache: Path) -> None:
    table = write_label_maps(tmp_path / "maps") / "classes.csv"
    (tmp_path / "maps/classes.txt").unlink()
    for text in ("value,name\n0,void\n1,road\n2,car\n", "value,name\n0,background\n1,car\n2,road\n"):
        table.write_text(text)
        model, sets = built(recipe := frozen_folder(tmp_path))
        kept = freeze_backbone(model, recipe, sets)[1]
        assert all(torch.equal(kept[i][1], sets[1][i][1]) for i in range(4))
    assert len(list((cache / "frozen").iterdir())) == 2
    prepare(frozen_folder(tmp_path))
    assert len(list((cache / "frozen").iterdir())) == 2


def test_images_stretched_to_other_multiples_are_other_maps(tmp_path: Path) -> None:
    write_label_maps(tmp_path / "maps")
    for multiple, size in ((1, (53, 80)), (32, (64, 96)), (1, (53, 80))):
        recipe = frozen_folder(tmp_path, size_multiple=multiple)
        model, sets = built(recipe)
        assert freeze_backbone(model, recipe, sets)[1][0][0].shape[1:] == size


def test_names_of_images_may_be_no_utf_8(tmp_path: Path, cache: Path) -> None:
    root, name = write_label_maps(tmp_path / "maps"), os.fsdecode(b"caf\xe9.png")
    for folder in (root / "images/train", root / "labels/train"):
        try:
            (folder / "im0.png").rename(folder / name)
        except OSError:
            pytest.skip("this file system takes names in UTF-8 alone")
    prepare(frozen_folder(tmp_path))
    assert len(list((cache / "frozen").iterdir())) == 1


def test_a_place_is_the_same_from_every_folder(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`compare --data.root coco` keeps the maps that its runs, whose places are whole, look for."""
    write_coco(tmp_path / "coco")
    recipe = frozen_detection("retinanet", backbone_file(tmp_path))
    monkeypatch.chdir(tmp_path)
    for root in ("coco", str(tmp_path / "coco")):
        prepare(replace(recipe, data=replace(recipe.data, kind="coco", root=root, batch_size=2)))
    assert len(list((cache / "frozen").iterdir())) == 1


@pytest.mark.slow
def test_a_resumed_run_reads_the_maps_of_its_backbone(tmp_path: Path, cache: Path) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    straight = train(recipe, tmp_path / "straight")
    train(replace(recipe, run=replace(recipe.run, max_steps=1)), tmp_path / "stopped")
    resumed = train(recipe, tmp_path / "stopped", resume=True)
    assert resumed.scores == straight.scores
    assert len(list((cache / "frozen").iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MSCSA_CACHE", str(tmp_path / "file"))
    with pytest.raises(UserError, match="cannot keep maps in .*; set MSCSA_CACHE"):
        prepare(frozen_recipe(backbone_file(tmp_path)))


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("optim", {"warmup_steps": 4}, "warmup_steps 4 is not shorter than the run of 2 epochs"),
        ("data", {"batch_size": 9}, "8 images, fewer than data.batch_size 9"),
    ],
)
def test_a_run_without_room_computes_no_maps(
    tmp_path: Path, cache: Path, part: str, change: dict[str, Any], message: str
) -> None:
    recipe = frozen_recipe(backbone_file(tmp_path))
    recipe = replace(recipe, **{part: replace(getattr(recipe, part), **change)})
    for begin in (prepare, lambda recipe: train(recipe, tmp_path / "run")):
        with pytest.raises(UserError, match=message):
            begin(recipe)
    assert not cache.exists()


def test_the_cache_is_where_caches_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MSCSA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/mscsa")
