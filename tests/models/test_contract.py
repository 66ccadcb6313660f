"""What holds for whole models, registered or not, in both forms."""

from __future__ import annotations

import copy
import pickle
from itertools import product

import pytest
import timm
import torch
from timm.models import get_notrace_functions, get_notrace_modules, save_for_hf
from timm.utils import freeze, unfreeze
from torch import Tensor, nn
from torchvision.models.feature_extraction import create_feature_extractor

import mscsa
from mscsa.models import NeckPyramid, build_pyramid

LIGHT = {"num_heads": 2, "head_dim": 8, "squeeze_ratio": 0.25}


def registered(**kwargs) -> mscsa.MSCSAModel:
    return timm.create_model("mscsa_pvt_v2_b0", **LIGHT, **kwargs)


def by_budget(**kwargs) -> mscsa.MSCSAModel:
    return mscsa.create_model("resnet10t", budget=0.25, pool_stride=8, budget_size=64, **kwargs)


def by_keyword(**kwargs) -> mscsa.MSCSAModel:
    return timm.create_model("mscsa", backbone="test_convnext", **LIGHT, **kwargs)


def added(features_only: bool = False, **kwargs) -> mscsa.MSCSAModel:
    backbone = timm.create_model("test_resnet", num_classes=kwargs.get("num_classes", 1000))
    return mscsa.add_to(backbone, features_only=features_only, **LIGHT)


def beside(**kwargs) -> mscsa.MSCSAModel:
    model = mscsa.create_model("test_convnext", keep_classifier=True, **LIGHT, **kwargs)
    if not model.head.weight.is_meta:  # its start, 0, would hide the tokens
        nn.init.trunc_normal_(model.head.weight, std=0.02)
    return model


def on_pafpn(**kwargs) -> NeckPyramid:
    return build_pyramid("test_resnet", neck="pafpn", neck_config={"channels": 8})


BUILDERS = (registered, by_budget, by_keyword, added)
OF_TIMM = [*product(BUILDERS, (False, True)), (beside, False)]
"""Models that timm builds, or builds again."""
MODELS = [*OF_TIMM, (on_pafpn, True)]


def each_of(models):
    ids = [f"{build.__name__}-{'pyramid' if form else 'classifier'}" for build, form in models]
    return pytest.mark.parametrize(("build", "features_only"), models, ids=ids)


every_model, every_model_of_timm = each_of(MODELS), each_of(OF_TIMM)
COMPILED_BY_DEFAULT = ((added, True), (on_pafpn, True))
IMAGE = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def seeded(build, features_only: bool) -> mscsa.MSCSAModel:
    torch.manual_seed(0)
    form = {"features_only": True} if features_only else {"num_classes": 7}
    return build(**form)


def outputs(result) -> list[Tensor]:
    return [result] if isinstance(result, Tensor) else list(result)


def assert_equal(ours, expected, **tolerances) -> None:
    for a, b in zip(outputs(ours), outputs(expected), strict=True):
        torch.testing.assert_close(a, b, **(tolerances or {"rtol": 0, "atol": 0}))


def gradients(model: nn.Module, image: Tensor, run=None) -> dict[str, Tensor]:
    model.zero_grad()
    result = model(image) if run is None else run(image)
    sum(x.square().mean() for x in outputs(result)).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@every_model
def test_copies_are_equal(build, features_only):
    model = seeded(build, features_only).eval()
    expected = model(IMAGE)
    assert_equal(copy.deepcopy(model)(IMAGE), expected)
    assert_equal(pickle.loads(pickle.dumps(model))(IMAGE), expected)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "features_only"),
    [
        pytest.param(build, form, marks=() if (build, form) in COMPILED_BY_DEFAULT else pytest.mark.long)
        for build, form in MODELS
    ],
)
def test_compiles_with_gradient_checkpointing(build, features_only):
    torch._dynamo.reset()
    model = seeded(build, features_only).double()
    compiled_model = copy.deepcopy(model)
    compiled_model.set_grad_checkpointing()
    expected = gradients(model, IMAGE.double())
    given = gradients(compiled_model, IMAGE.double(), torch.compile(compiled_model, backend="aot_eager"))
    assert given.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(given[name], value, rtol=1e-7, atol=1e-10, msg=name)


@every_model
def test_two_backward_passes_through_checkpointed_blocks(build, features_only):
    model = seeded(build, features_only)
    model.set_grad_checkpointing()
    loss = sum(x.square().mean() for x in outputs(model(IMAGE)))
    loss.backward(retain_graph=True)
    once = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    loss.backward()
    for name, p in model.named_parameters():
        if name in once:
            torch.testing.assert_close(p.grad, 2 * once[name], rtol=1e-4, atol=1e-7, msg=name)


@every_model
def test_a_trace_is_right_at_other_sizes(build, features_only):
    model = seeded(build, features_only).eval()
    traced = torch.jit.trace(model, IMAGE, strict=False, check_trace=False)
    assert_equal(traced(IMAGE), model(IMAGE), rtol=1e-4, atol=1e-5)
    if build is by_keyword or build is registered:  # ResNet's and ours; PVTv2 fixes sizes by itself
        return
    other = torch.rand(1, 3, 96, 64)
    assert_equal(traced(other), model(other), rtol=1e-4, atol=1e-5)


@every_model
def test_freezing_by_timm_and_back(build, features_only):
    model = seeded(build, features_only)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    freeze(model)
    assert not [name for name, p in model.named_parameters() if p.requires_grad]
    assert not [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    frozen = model.eval()(IMAGE)
    unfreeze(model)
    assert_equal(model.eval()(IMAGE), frozen, rtol=1e-4, atol=1e-5)
    assert trainable <= {name for name, p in model.named_parameters() if p.requires_grad}


@every_model_of_timm
def test_from_a_folder_of_the_hub_and_back(build, features_only, tmp_path):
    """What timm saves, timm builds again, weights, classes, configuration and form."""
    model = seeded(build, features_only).eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    torch.manual_seed(1)
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    assert_equal(again(IMAGE), model(IMAGE))
    assert again.mscsa.config == model.mscsa.config
    assert again.pretrained_cfg["architecture"] == model.pretrained_cfg["architecture"]
    empty = timm.create_model(f"local-dir:{tmp_path}", pretrained=False).eval()
    assert empty.state_dict().keys() == model.state_dict().keys()
    assert not torch.allclose(outputs(empty(IMAGE))[-1], outputs(model(IMAGE))[-1])


@every_model_of_timm
def test_a_saved_model_adapts_to_other_classes_and_channels(build, features_only, tmp_path):
    model = seeded(build, features_only).eval()
    save_for_hf(model, str(tmp_path), safe_serialization=True)
    other = {} if features_only else {"num_classes": 3}
    again = timm.create_model(f"local-dir:{tmp_path}", pretrained=True, in_chans=1, **other).eval()
    assert again.in_chans == 1
    assert torch.equal(again.mscsa.blocks[0].csa1.qkv.weight, model.mscsa.blocks[0].csa1.qkv.weight)
    assert outputs(again(IMAGE[:, :1]))[0].isfinite().all()
    if not features_only:
        assert again(IMAGE[:, :1]).shape == (2, 3)


@every_model_of_timm
def test_device_and_type(build, features_only):
    if build is added:  # takes those of the model it is added to
        model = mscsa.add_to(timm.create_model("test_resnet").double(), features_only=features_only, **LIGHT)
        assert {p.dtype for p in model.parameters()} == {torch.float64}
        return
    form = {"features_only": True} if features_only else {}
    model = build(**form, device="meta", dtype=torch.float64)
    assert {p.device.type for p in model.parameters()} == {"meta"}
    assert {p.dtype for p in model.parameters()} == {torch.float64}


@pytest.mark.parametrize("name", ["mscsa_pvt_v2_b0", "mscsa_resnet18", "mscsa_shunted_tiny"])
def test_an_fx_graph_is_the_model(name):
    """With timm's leaves, as its own feature extractors trace."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3).eval()
    tracer = {"leaf_modules": get_notrace_modules(), "autowrap_functions": get_notrace_functions()}
    graph = create_feature_extractor(model, {"head": "head"}, tracer_kwargs=tracer)
    assert_equal(graph(IMAGE)["head"], model(IMAGE), rtol=1e-4, atol=1e-5)
