"""What a recipe is made of: each field explained, each task told by its head, nothing heavy imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.heads import HEADS
from mscsa.recipes.spec import (
    GIVEN_PLACES,
    PARTS,
    ClassificationData,
    DataSpec,
    DetectionData,
    ModelSpec,
    SegmentationData,
)


@pytest.mark.parametrize("name", HEADS)
def test_the_task_is_the_heads(name: str) -> None:
    assert ModelSpec(name="resnet18", head=name).task == HEADS[name].task
    assert HEADS[name].task in PARTS


def test_without_a_head_it_is_a_classifier() -> None:
    spec = ModelSpec(name="resnet18")
    assert spec.task == "classification"
    assert spec.drop_path_rate is None and spec.drop_rate is None  # the backbone's own, in both arms


def test_an_unknown_head_is_one_line() -> None:
    with pytest.raises(UserError, match="no head is called 'mask_rnn': did you mean mask_rcnn"):
        _ = ModelSpec(name="resnet18", head="mask_rnn").task


def test_places_of_one_machine_are_told_from_the_rest() -> None:
    given = dict.fromkeys(GIVEN_PLACES, "/data/x")
    for places, data in (
        ({"root": "/data"}, ClassificationData(kind="folder", root="/data")),
        (given, DetectionData(kind="coco", **given)),
    ):
        assert data.places == places
        assert data.without_places() == type(data)(kind=data.kind) and data.without_places().places == {}


def test_the_size_at_which_costs_are_counted() -> None:
    assert ClassificationData(kind="folder", image_size=160).input_size == (160, 160)
    assert SegmentationData(kind="masks", image_size=96).input_size == (96, 96)
    assert DetectionData(kind="coco").input_size == (800, 1280)  # the paper's Table 2
    assert DetectionData(kind="coco", short_side=128, long_side=128).input_size == (128, 128)


def test_data_of_no_task_cannot_be_described() -> None:
    """What has no size to count costs at is refused where it is made, not where the size is read."""
    with pytest.raises(TypeError, match="abstract"):
        DataSpec(kind="folder")  # type: ignore[abstract]


def test_recipes_need_no_torch() -> None:
    script = (
        "import sys, types; package = types.ModuleType('mscsa'); package.__path__ = ['mscsa']; "
        "sys.modules['mscsa'] = package; import mscsa.recipes; "
        "sys.exit(bool({'torch', 'timm', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_every_field_is_explained() -> None:
    """A string follows each field in the source, since that is what `--help` shows."""
    import inspect

    from mscsa.recipes import spec

    lines = [line.strip() for line in inspect.getsource(spec).splitlines()]
    for part in vars(spec).values():
        if not is_dataclass(part):
            continue
        for field in fields(part):
            place = next(i for i, line in enumerate(lines) if line.startswith(f"{field.name}: "))
            following = lines[place + 1 : place + 3]
            assert any(line.startswith('"""') for line in following), field.name


@pytest.mark.parametrize(
    ("options", "neck"),
    [
        ({"name": "resnet10t"}, None),
        ({"name": "mscsa_resnet10t"}, "mscsa"),
        ({"name": "resnet10t", "mscsa": {}}, "mscsa"),
        ({"name": "resnet10t", "budget": 0.1}, "mscsa"),
        ({"name": "resnet10t", "budget": 0.1, "neck": "fpn"}, "fpn"),
    ],
)
def test_the_neck_of_a_model_however_it_is_asked_for(options: dict[str, Any], neck: str | None) -> None:
    assert ModelSpec(**options).neck_name == neck
