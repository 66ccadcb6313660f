"""A control is never cheaper than MSCSA, and the next narrower one is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from mscsa.assembly.build import build_model
from mscsa.cost.matched_control import head_widths, matched_control, width_steps
from mscsa.cost.model_info import count_model
from mscsa.heads import HEADS
from mscsa.recipes import RECIPES
from mscsa.recipes.arms import baseline_of, control_of
from mscsa.recipes.spec import ModelSpec, Recipe

SEGMENTER = RECIPES["scenes_semantic_fpn/mscsa_resnet10t"]


def recipe_with(head: str, **options: Any) -> Recipe:
    """A small model under a head, which MSCSA makes dearer."""
    family = "scenes_semantic_fpn" if HEADS[head].task == "segmentation" else f"scenes_{head}"
    recipe = RECIPES[f"{family}/mscsa_resnet10t"]
    spec = ModelSpec(name="test_resnet", head=head, head_kwargs=options, budget=0.5, mscsa={"pool_stride": 8})
    return replace(recipe, model=spec)


CASES = {
    "semantic_fpn": recipe_with("semantic_fpn"),
    "semantic_fpn-gn": recipe_with("semantic_fpn", fpn_channels=40, head_channels=64, norm="gn"),
    "mask_rcnn": recipe_with("mask_rcnn", fpn_channels=16, proposals=20, backbone_norm="live"),
    "cascade_mask_rcnn": recipe_with("cascade_mask_rcnn", fpn_channels=16, proposals=20),
    "retinanet-gn": recipe_with("retinanet", fpn_channels=32, fpn_norm="gn"),
    "topformer_head": recipe_with("topformer_head"),
}


def macs(recipe: Recipe) -> int:
    """Counted on real weights, as of the trained models of a comparison."""
    return count_model(
        build_model(recipe.model, 5, input_size=recipe.data.input_size), recipe.data.input_size
    )


SLOW = ("semantic_fpn", "semantic_fpn-gn", "cascade_mask_rcnn", "retinanet-gn", "topformer_head")


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=pytest.mark.slow if case in SLOW else ()) for case in CASES]
)
def test_a_control_costs_what_mscsa_does_or_just_more(case: str) -> None:
    recipe = CASES[case]
    control = matched_control(recipe, 5).recipe
    assert control is not None
    target = macs(recipe)
    assert macs(control) >= target > macs(baseline_of(recipe))

    head = HEADS[str(recipe.model.head)]
    bare = baseline_of(recipe).model
    base, steps = head_widths(bare, build_model(bare, 5)), width_steps(bare)
    widths = {name: control.model.head_kwargs[name] for name in head.wider}
    assert all(widths[name] % steps[name] == 0 and widths[name] >= base[name] for name in widths)
    # One factor: each width is the first multiple of its step from the factor on.
    low = max((widths[name] - steps[name]) / base[name] for name in widths)
    high = min(widths[name] / base[name] for name in widths)
    assert low < high
    narrower = {name: steps[name] * -(-base[name] * low // steps[name]) for name in widths}
    assert macs(control_of(recipe, {name: int(width) for name, width in narrower.items()})) < target


def test_every_head_with_a_width_is_tried() -> None:
    assert {case.partition("-")[0] for case in CASES} == {name for name, head in HEADS.items() if head.wider}


def test_group_norms_ask_for_multiples_of_their_groups() -> None:
    assert width_steps(CASES["semantic_fpn-gn"].model) == {"fpn_channels": 1, "head_channels": 32}
    assert width_steps(CASES["retinanet-gn"].model) == {"fpn_channels": 32}
    assert width_steps(CASES["mask_rcnn"].model) == {"fpn_channels": 1}


def test_a_width_that_the_head_chooses_is_read_from_the_model() -> None:
    spec = baseline_of(CASES["topformer_head"]).model
    assert head_widths(spec, build_model(spec, 5)) == {"injected_channels": 256}
    given = replace(spec, head_kwargs={"injected_channels": 24})
    assert head_widths(given, build_model(given, 5)) == {"injected_channels": 24}


@pytest.mark.slow
def test_the_note_says_what_is_wider() -> None:
    note = matched_control(SEGMENTER, 11).note
    assert note.startswith("Control: the baseline with a wider head (fpn_channels 64 -> ")
    assert "head_channels 64 -> " in note and " % MACs against MSCSA." in note


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("scenes/mscsa_resnet10t", "a classifier has no head to make wider"),
        ("scenes_deformable_detr/mscsa_resnet10t", "deformable_detr has no width that is an option"),
        ("ade20k/mscsa_topformer_base", "MSCSA makes the model no dearer than its baseline"),
        pytest.param(
            *("scenes_topformer_head/mscsa_topformer_tiny", "the head would have to be over 8 times as wide"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_where_there_is_no_control_a_note_says_why(name: str, reason: str) -> None:
    found = matched_control(RECIPES[name], 11)
    assert found.recipe is None and reason in found.note
