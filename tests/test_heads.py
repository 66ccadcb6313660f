"""The table of heads says what the heads themselves say."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

from mscsa.errors import UserError
from mscsa.heads import COUNT, FLAG, HEADS, POSITIVE, SHARE, Head, check_values, find_head
from mscsa.models import build_pyramid


@pytest.mark.parametrize("name", HEADS)
def test_options_are_the_builders_keyword_only_arguments(name: str) -> None:
    parameters = inspect.signature(HEADS[name].load()).parameters.values()
    of_builder = {p.name: p.default for p in parameters if p.kind is p.KEYWORD_ONLY}
    assert list(of_builder) == list(HEADS[name].options)
    check_values(HEADS[name], of_builder)  # its defaults are allowed
    assert [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD][-2:] == [
        "pyramid",
        "num_classes",
    ]


@pytest.mark.parametrize("name", HEADS)
def test_strides_are_those_of_the_levels_that_it_reads(name: str) -> None:
    """A head of certain strides gets these and no finer ones; the others get all from stride 4 on."""
    from mscsa.dense import build_head, levels_of

    built = build_head(name, "test_resnet", 3, {}, tasks=[HEADS[name].task])
    assert tuple(levels_of(built.pyramid)[1]) == (HEADS[name].strides or (4, 8, 16, 32))


@pytest.mark.parametrize(
    ("allowed", "right", "wrong"),
    [
        (COUNT, [1, 80], [0, -1, 1.0, True, "3", None]),
        (SHARE, [0, 0.0, 0.99], [1, -0.1, float("nan"), True, "0.1", None]),
        (POSITIVE, [1, 0.5], [0, -1, float("inf"), float("nan"), None]),
        (FLAG, [True, False], [0, 1, "true", None]),
        (COUNT.or_none(), [1, None], [0, ""]),
    ],
    ids=lambda value: getattr(value, "says", ""),
)
def test_values_that_an_option_takes(allowed: Any, right: list[Any], wrong: list[Any]) -> None:
    assert all(allowed.has(value) for value in right)
    assert not any(allowed.has(value) for value in wrong)


def test_a_wrong_value_is_one_line() -> None:
    head = HEADS["semantic_fpn"]
    check_values(head, {"dropout": 0.5, "not_its_own": "anything"})
    with pytest.raises(UserError, match="^norm='layer' given: give one of bn, gn$"):
        check_values(head, {"dropout": 0.5, "norm": "layer"})
    with pytest.raises(UserError, match="^fpn_channels=None given: give a whole number from 1 on$"):
        check_values(head, {"fpn_channels": None})


def test_a_head_is_found_by_name_and_task() -> None:
    assert find_head("mask_rcnn") is find_head("mask_rcnn", "instance_segmentation") is HEADS["mask_rcnn"]
    assert HEADS["mask_rcnn"].has_masks and not HEADS["retinanet"].has_masks
    with pytest.raises(UserError, match="^no head is called 'yolo': give one of semantic_fpn, .*, mask_rcnn"):
        find_head("yolo")
    with pytest.raises(UserError, match="^no head for segmentation is called 'mask_rcnn': give one of sem"):
        find_head("mask_rcnn", "segmentation")


def test_a_missing_package_is_named_with_its_extra() -> None:
    head = Head(task="detection", builder="mscsa.no_such_module:build", options={}, extra="detection")
    with pytest.raises(
        UserError, match=r"cannot be imported .*no_such_module.*pip install 'mscsa\[detection\]'"
    ):
        head.load()
    with pytest.raises(ImportError):  # of a head without an extra it is a fault of ours
        Head(task="detection", builder="mscsa.no_such_module:build", options={}).load()


def test_the_table_needs_no_torch() -> None:
    script = (
        "import sys, types; sys.modules['mscsa'] = types.ModuleType('mscsa'); "
        "sys.modules['mscsa'].__path__ = ['mscsa']; import mscsa.heads; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_no_option_has_the_name_of_one_that_the_head_settles() -> None:
    settled = {"strides", "fuse", "backbone_norm", "mscsa_norm"}
    assert not any(settled & set(head.options) for head in HEADS.values())
    of_pyramid = set(inspect.signature(build_pyramid).parameters)
    # One that both have goes to both.
    assert {name: of_pyramid & set(head.options) for name, head in HEADS.items()} == {
        name: {"drop_path_rate"} if name == "topformer_head" else set() for name in HEADS
    }
