"""From a ModelSpec to a model."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.layers import DropPath
from torch import nn

import mscsa
from mscsa.assembly import build_model
from mscsa.assembly.build import check_input_size, resolved_spec
from mscsa.backbones.timm_pyramid import build_backbone, pyramid_levels
from mscsa.checkpoints import save_weights
from mscsa.errors import UserError
from mscsa.models.model import MSCSAModel
from mscsa.models.register import backbone_names
from mscsa.neck_table import OTHER_NECKS
from mscsa.recipes import get_recipe
from mscsa.recipes.spec import ModelSpec


def test_a_plain_name_is_a_timm_model() -> None:
    model = build_model(ModelSpec(name="test_resnet", drop_path_rate=0.1, drop_rate=0.3), 7).eval()
    assert not isinstance(model, MSCSAModel)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert model.drop_rate == 0.3


@pytest.mark.parametrize("drop_rate", [None, 0.0, 0.3])
def test_no_dropout_given_is_the_models_own(drop_rate: float | None) -> None:
    """GhostNet drops a fifth before its classifier unless told otherwise."""
    with torch.device("meta"):
        model = build_model(ModelSpec(name="ghostnet_100", drop_rate=drop_rate), 7)
    assert model.drop_rate == (0.2 if drop_rate is None else drop_rate)


def test_a_registered_name_is_the_row_of_the_paper() -> None:
    model = build_model(ModelSpec(name="mscsa_pvt_v2_b0", drop_path_rate=0.1), 7)
    assert isinstance(model, MSCSAModel)
    assert model.mscsa.config.head_dim == 15
    assert model.mscsa.config.drop_path_rate == 0.1
    assert model.num_classes == 7


def test_fields_and_budget_add_mscsa_to_a_plain_name() -> None:
    spec = ModelSpec(name="test_resnet", mscsa={"pool_stride": 8, "depth": 1}, budget=0.5, drop_rate=0.2)
    model = build_model(spec, 7, input_size=(64, 64))
    assert isinstance(model, MSCSAModel)
    assert (model.mscsa.config.pool_stride, model.mscsa.config.depth) == (8, 1)
    assert model.head_drop.p == 0.2


def test_the_budget_holds_at_the_image_size() -> None:
    """At 64 px the map at stride 8 has 64 tokens and attention costs less than at 160 px."""
    spec = ModelSpec(name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5)
    small, default = (build_model(spec, 7, input_size=size) for size in ((64, 64), None))
    assert isinstance(small, MSCSAModel) and isinstance(default, MSCSAModel)
    assert small.mscsa.config != default.mscsa.config


def test_a_checkpoint_fills_the_model_but_a_head_of_other_classes(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    source = mscsa.create_model("test_resnet", num_classes=4, budget=0.5, pool_stride=8)
    save_weights(source, path, {})
    spec = ModelSpec(name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5, checkpoint=str(path))
    model = build_model(spec, 6)
    own = model.state_dict()
    for key, value in source.state_dict().items():
        assert key.startswith("head.") or torch.equal(own[key], value), key
    with pytest.raises(UserError, match="fills .* of this model"):
        build_model(ModelSpec(name="test_convnext", checkpoint=str(path)), 6)


@pytest.mark.parametrize("keep", [None, False, True])
def test_a_new_classifier_on_pretrained_weights_starts_small(keep: bool | None) -> None:
    """That of EfficientNets, which timm draws by 1/sqrt(classes), as MSCSA's; ImageNet's own is kept."""
    mscsa_ = {} if keep is None else {"budget": 0.1, "keep_classifier": keep}
    spec = ModelSpec(name="tf_efficientnet_lite0", pretrained=True, **mscsa_)
    source = build_backbone("tf_efficientnet_lite0", pretrained=True).get_classifier()
    for num_classes in (10, 1000):
        torch.manual_seed(0)
        model = build_model(spec, num_classes)
        own = model if keep is None else model.backbone if keep else model
        classifier = own.get_classifier()
        if num_classes == 10 or keep is False:
            assert 0.015 < classifier.weight.std() < 0.025 and not classifier.bias.any()
        else:
            assert torch.equal(classifier.weight, source.weight) and torch.equal(classifier.bias, source.bias)
    drawn = build_backbone("tf_efficientnet_lite0", num_classes=10).get_classifier()
    assert drawn.weight.std() > 0.1  # what a new classifier would be


@pytest.mark.parametrize("num_classes", [4, 1000])
def test_a_new_classifier_on_a_checkpoint_starts_small(tmp_path: Path, num_classes: int) -> None:
    path = tmp_path / "weights.pth"
    source = timm.create_model("test_efficientnet", num_classes=1000)
    torch.save(source.state_dict(), path)
    classifier = build_model(
        ModelSpec(name="test_efficientnet", checkpoint=str(path)), num_classes
    ).classifier
    if num_classes == 1000:
        assert torch.equal(classifier.weight, source.classifier.weight)
    else:
        assert 0.015 < classifier.weight.std() < 0.025 and not classifier.bias.any()
    drawn = build_model(ModelSpec(name="test_efficientnet"), 4)
    assert drawn.classifier.weight.std() > 0.1  # from scratch it is timm's


@pytest.mark.parametrize("prefix", ["", "mscsa_"])
def test_a_checkpoint_takes_the_place_of_pretrained_weights(tmp_path: Path, prefix: str) -> None:
    """So that the recipes of fine-tuning start where timm has no weights, and without a network."""
    path = tmp_path / "weights.pth"
    torch.manual_seed(5)
    source = timm.create_model("p2t_tiny")
    torch.save(source.state_dict(), path)
    spec = get_recipe(f"finetune/{prefix}p2t_tiny").model
    with (
        torch.device("meta"),
        pytest.raises(UserError, match="^no pretrained weights are named for p2t_tiny"),
    ):
        build_model(spec, 3)
    model = build_model(replace(spec, checkpoint=str(path)), 3)
    own = model.state_dict()
    for key, value in source.state_dict().items():
        place = f"backbone.{key}" if prefix else key
        assert key.startswith("head.") or torch.equal(own[place], value), key


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            ModelSpec(name="test_resnet", head="semantic_fpn", drop_path_rate=0.1, neck="fpm"),
            "did you mean fpn",
        ),
        (
            ModelSpec(name="selecsls84", head="semantic_fpn", pretrained=True),
            "weights are named for selecsls84",
        ),
        (ModelSpec(name="resnet5O"), "did you mean .*resnet50"),
        (ModelSpec(name="resnet5O", budget=0.1), "did you mean .*resnet50"),
        (ModelSpec(name="mscsa_resnet5O"), "did you mean .*resnet50"),
        (ModelSpec(name="test_resnet", backbone_kwargs={"widht": 2}), "widht"),
        (ModelSpec(name="test_resnet", budget=0.5, backbone_kwargs={"widht": 2}), "widht"),
        (ModelSpec(name="test_resnet", mscsa={"dept": 2}), "no field 'dept': did you mean depth"),
        (
            ModelSpec(name="test_resnet", mscsa={"num_classes": 2}),
            "no field 'num_classes': did you mean num_heads",
        ),
        (ModelSpec(name="test_resnet", head="unett"), "no head is called 'unett'"),
        (
            ModelSpec(name="test_resnet", head="semantic_fpn", drop_rate=0.1),
            "model.drop_rate is the classifier's: give model.head_kwargs",
        ),
        (
            ModelSpec(name="test_resnet", head="semantic_fpn", head_kwargs={"budget": 0.1}),
            "model.head_kwargs has budget: .* of model itself",
        ),
        (
            ModelSpec(name="test_resnet", head="retinanet", head_kwargs={"anchor_scael": 1}),
            "no option 'anchor_scael': did you mean anchor_scale",
        ),
        (ModelSpec(name="test_resnet", mscsa={"drop_path_rate": 0.1}), "give model.drop_path_rate"),
        (ModelSpec(name="test_vit", budget=0.1), "pyramid"),
    ],
)
def test_what_cannot_be_built_is_one_line(spec: ModelSpec, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_model(spec, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("head", [None, "semantic_fpn", "retinanet"])
@pytest.mark.parametrize("num_classes", [0, -1, 2.5])
def test_a_number_of_classes_that_cannot_be_is_one_line(head: str | None, num_classes: int) -> None:
    with pytest.raises(UserError, match=f"num_classes={num_classes} given: give a whole number from 1 on"):
        build_model(ModelSpec(name="test_resnet", head=head), num_classes)


@pytest.mark.parametrize("head", [None, "semantic_fpn"])
def test_the_prefix_adds_mscsa_to_any_backbone(head: str | None) -> None:
    """Registered or not; as the field `mscsa` does."""
    with torch.device("meta"):
        by_name, by_field = (
            build_model(spec, 5)
            for spec in (
                ModelSpec(name="mscsa_test_resnet", head=head),
                ModelSpec(name="test_resnet", mscsa={}, head=head),
            )
        )
    (one,), (other,) = (
        [m for m in model.modules() if isinstance(m, MSCSAModel)] for model in (by_name, by_field)
    )
    assert one.mscsa is not None and other.mscsa is not None
    assert one.mscsa.config == other.mscsa.config
    assert by_name.state_dict().keys() == by_field.state_dict().keys()


MSCSA_FIELDS = {"num_heads": 2, "head_dim": 4, "squeeze_ratio": 0.25}


def drop_path_rates(model: nn.Module) -> list[float]:
    """List the rates of a model's stochastic depth, sorted; MSCSA has modules of its own for it."""
    return sorted(float(m.drop_prob or 0) for m in model.modules() if isinstance(m, DropPath))


def assert_arms_match(name: str, drop_path_rate: float | None, head: str | None = None) -> list[float]:
    """Build both arms of a comparison and give the rates of stochastic depth of their backbones."""
    spec = ModelSpec(name=name, drop_path_rate=drop_path_rate, head=head)
    with torch.device("meta"):
        baseline: Any = build_model(spec, 10)
        model: Any = build_model(replace(spec, mscsa=MSCSA_FIELDS), 10)
    if head is not None:
        baseline, model = baseline.backbone.backbone, model.backbone
    rates = drop_path_rates(baseline)
    assert drop_path_rates(model.backbone) == rates
    assert model.mscsa.config.drop_path_rate == pytest.approx(max(rates, default=0.0))
    return rates


OWN_RATES = {
    **{"swin_tiny_patch4_window7_224": 0.1, "swinv2_tiny_window8_256": 0.1, "nextvit_small": 0.1},
    **{"fasternet_l": 0.3, "focalnet_tiny_srf": 0.1, "nest_tiny": 0.5, "efficientformerv2_l": 0.1},
    **{"densenet121": 0.0, "vgg11": 0.0, "dla34": 0.0},
}
"""Backbones and the stochastic depth that timm gives them; the last three have none."""


@pytest.mark.parametrize("name", OWN_RATES)
def test_no_rate_given_is_the_backbones_own_in_both_arms(name: str) -> None:
    assert max(assert_arms_match(name, None), default=0.0) == pytest.approx(OWN_RATES[name])


@pytest.mark.parametrize("name", ["swin_tiny_patch4_window7_224", "nest_tiny", "densenet121", "vgg11"])
def test_a_rate_of_0_reaches_both_arms(name: str) -> None:
    """Where timm's own is another, and where the backbone knows no such keyword: 0 is what it has."""
    assert max(assert_arms_match(name, 0.0), default=0.0) == 0


def test_under_a_head_the_arms_match_too() -> None:
    assert max(assert_arms_match("nextvit_small", None, head="semantic_fpn")) == pytest.approx(0.1)
    assert max(assert_arms_match("nextvit_small", 0.0, head="semantic_fpn"), default=0.0) == 0


@pytest.mark.parametrize("mscsa", [None, MSCSA_FIELDS], ids=["baseline", "mscsa"])
def test_a_rate_that_a_backbone_cannot_have_is_one_line(mscsa: dict[str, Any] | None) -> None:
    with pytest.raises(UserError, match="densenet121 does not take .*drop_path_rate.*0.1") as caught:
        build_model(ModelSpec(name="densenet121", mscsa=mscsa, drop_path_rate=0.1), 10)
    assert "\n" not in str(caught.value)


def first_with_pyramid(module: str) -> str | None:
    """Find a model of one of timm's modules that has two strides or more from 4 on, among the first few.

    Those of a module are of one kind: all plain transformers, or all pyramids.
    """
    for name in backbone_names(module)[:5]:
        with torch.device("meta"):
            levels = pyramid_levels(build_backbone(name))
        if len({level.stride for level in levels if level.stride >= 4}) > 1:
            return name
    return None


@pytest.mark.sweep
@pytest.mark.parametrize("module", [each for each in timm.list_modules() if backbone_names(each)])
def test_the_arms_match_on_every_family_of_timm(module: str) -> None:
    name = first_with_pyramid(module)
    if name is None:
        assert build_model(ModelSpec(name=backbone_names(module)[0]), 10) is not None
        return
    assert_arms_match(name, None)
    assert max(assert_arms_match(name, 0.0), default=0.0) == 0


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(
            name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5, drop_path_rate=0.1, freeze=("x",)
        ),
        ModelSpec(name="mscsa_pvt_v2_b0"),
        ModelSpec(name="test_resnet", pretrained=False),
        ModelSpec(name="nextvit_small", mscsa=MSCSA_FIELDS),
    ],
    ids=["budget", "registered", "plain", "own rate"],
)
def test_a_resolved_spec_rebuilds_the_same_structure(spec: ModelSpec) -> None:
    with torch.device("meta"):
        model = build_model(spec, 5, input_size=(64, 64))
        resolved = resolved_spec(spec, model)
        again = build_model(resolved, 5)
    assert (resolved.budget, resolved.checkpoint, resolved.pretrained) == (None, None, False)
    shapes = [{k: v.shape for k, v in each.state_dict().items()} for each in (model, again)]
    assert shapes[0] == shapes[1]
    if isinstance(model, MSCSAModel):
        assert isinstance(again, MSCSAModel)
        assert again.mscsa.config == model.mscsa.config


def test_an_image_size_is_tried_before_the_run() -> None:
    spec, vit_spec = ModelSpec(name="test_resnet"), ModelSpec(name="test_vit")
    model = build_model(spec, 5).train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    check_input_size(model, spec, (33, 33))
    assert model.training
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    vit = build_model(vit_spec, 5)
    with pytest.raises(UserError, match="test_vit does not take images of 33x33: "):
        check_input_size(vit, vit_spec, (33, 33))


def test_a_kept_classifier() -> None:
    spec = ModelSpec(name="test_resnet", mscsa={"depth": 1}, keep_classifier=True)
    model = build_model(spec, 7)
    assert isinstance(model, MSCSAModel) and model.backbone.num_classes == 7
    assert resolved_spec(spec, model).keep_classifier
    for wrong in (replace(spec, mscsa=None), replace(spec, head="semantic_fpn")):
        with pytest.raises(UserError, match="keep_classifier with"):
            build_model(wrong, 7)


def neck_spec(**options: Any) -> ModelSpec:
    return ModelSpec(
        name="test_resnet", **{"head": "semantic_fpn", "head_kwargs": {"fpn_channels": 8}, **options}
    )


@pytest.mark.parametrize("neck", OTHER_NECKS)
def test_a_budget_for_a_neck_is_resolved_into_its_configuration(neck: str) -> None:
    spec = neck_spec(neck=neck, budget=0.5)
    model = build_model(spec, 3, input_size=(96, 96))
    resolved = resolved_spec(spec, model)
    assert (resolved.budget, resolved.neck) == (None, neck)
    again = build_model(resolved, 3)
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in model.state_dict().items()
    }
    assert resolved_spec(resolved, again) == resolved


def test_mscsa_may_be_named_as_a_neck() -> None:
    named = neck_spec(neck="mscsa", neck_kwargs={"head_dim": 8, "squeeze_ratio": 0.25})
    plain = neck_spec(mscsa={"head_dim": 8, "squeeze_ratio": 0.25})
    models = [build_model(spec, 3) for spec in (named, plain)]
    assert models[0].state_dict().keys() == models[1].state_dict().keys()
    assert resolved_spec(named, models[0]) == resolved_spec(plain, models[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neck": "fpn", "head": None, "head_kwargs": {}}, "model.neck fpn without a head"),
        ({"neck": "fpn", "mscsa": {}}, "model.neck fpn with model.mscsa: a model has one neck"),
        (
            {"neck": "fpn", "neck_kwargs": {"chanels": 8}},
            "model.neck_kwargs has no field 'chanels': did you mean",
        ),
        ({"neck": "mscsa", "neck_kwargs": {"chanels": 8}}, "model.neck_kwargs has no field 'chanels'"),
        ({"neck_kwargs": {"channels": 8}}, "model.neck_kwargs given without model.neck"),
        ({"neck": "fpm"}, "no neck is called 'fpm': did you mean fpn?"),
        (
            {"neck": "fpn", "head_kwargs": {"neck": "fpn"}},
            "model.head_kwargs has neck: these are fields of model",
        ),
        ({"neck": "fpn", "head": "topformer_head", "head_kwargs": {}}, "topformer_head on the neck fpn"),
    ],
)
def test_a_neck_that_has_no_place_is_one_line(options: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(UserError, match=re.escape(message)) as caught:
        build_model(neck_spec(**options), 3)
    assert "\n" not in str(caught.value)
