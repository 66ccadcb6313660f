"""From a ModelSpec to a model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import mscsa
from mscsa.assembly import build_model
from mscsa.assembly.build import check_input_size, resolved_spec
from mscsa.checkpoints import save_weights
from mscsa.errors import UserError
from mscsa.models.model import MSCSAModel
from mscsa.recipes.spec import ModelSpec


def test_a_plain_name_is_a_timm_model() -> None:
    model = build_model(ModelSpec(name="test_resnet", drop_path_rate=0.1, drop_rate=0.3), 7).eval()
    assert not isinstance(model, MSCSAModel)
    assert model(torch.zeros(1, 3, 32, 32)).shape == (1, 7)
    assert model.drop_rate == 0.3


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


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (ModelSpec(name="resnet5O"), "did you mean .*resnet50"),
        (ModelSpec(name="resnet5O", budget=0.1), "did you mean .*resnet50"),
        (ModelSpec(name="mscsa_resnet5O"), "did you mean .*mscsa_resnet50"),
        (ModelSpec(name="test_resnet", backbone_kwargs={"widht": 2}), "widht"),
        (ModelSpec(name="test_resnet", budget=0.5, backbone_kwargs={"widht": 2}), "widht"),
        (ModelSpec(name="test_resnet", mscsa={"dept": 2}), "no field 'dept': did you mean depth"),
        (ModelSpec(name="test_resnet", mscsa={"num_classes": 2}), "no field 'num_classes'"),
        (ModelSpec(name="test_resnet", mscsa={"drop_path_rate": 0.1}), "give model.drop_path_rate"),
        (ModelSpec(name="test_vit", budget=0.1), "pyramid"),
    ],
)
def test_what_cannot_be_built_is_one_line(spec: ModelSpec, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_model(spec, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(
            name="test_resnet", mscsa={"pool_stride": 8}, budget=0.5, drop_path_rate=0.1, freeze=("x",)
        ),
        ModelSpec(name="mscsa_pvt_v2_b0"),
        ModelSpec(name="test_resnet", pretrained=False),
    ],
    ids=["budget", "registered", "plain"],
)
def test_a_resolved_spec_rebuilds_the_same_structure(spec: ModelSpec) -> None:
    model = build_model(spec, 5, input_size=(64, 64))
    resolved = resolved_spec(spec, model)
    assert (resolved.budget, resolved.checkpoint, resolved.pretrained) == (None, None, False)
    again = build_model(resolved, 5)
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
