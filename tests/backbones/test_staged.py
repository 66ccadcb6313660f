"""What backbones made of stages have beyond timm's contract (test_contract.py): their own structure."""

import pytest
import timm
import torch
from timm.models._manipulate import group_parameters


@pytest.fixture(params=["p2t_tiny", "shunted_tiny", "coat_serial_tiny"])
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5).eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


def test_the_rate_of_dropout_is_where_timm_has_it(name):
    with torch.device("meta"):
        model = timm.create_model(name, drop_rate=0.3)
    assert model.drop_rate == model.head_drop.p == 0.3


def test_early_stop_runs_no_later_stage(model, image):
    ran = []
    for stage in model.stages:
        stage.register_forward_hook(lambda stage, *_: ran.append(stage))
    with torch.no_grad():
        model.forward_intermediates(image, indices=[0, 1], stop_early=True)
    assert ran == list(model.stages[:2])


def test_norm_applies_to_the_last_map_alone(name, model, image):
    with torch.no_grad():
        plain = model.forward_intermediates(image, intermediates_only=True)
        normed = model.forward_intermediates(image, norm=True, intermediates_only=True)
        assert torch.equal(normed[-1], model.forward_features(image))
    assert all(map(torch.equal, plain[:-1], normed[:-1]))
    assert torch.equal(plain[-1], normed[-1]) == (name != "coat_serial_tiny")


def test_a_cut_pyramid_has_no_parameter_without_gradient(name):
    torch.manual_seed(0)
    model = timm.create_model(name, features_only=True, out_indices=(0, 1)).double().train()
    outputs = model(torch.randn(2, 3, 64, 96).double())
    sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
    largest = {
        key: 0.0 if p.grad is None else p.grad.abs().max().item() for key, p in model.named_parameters()
    }
    assert min(largest.values()) > 1e-12, min(largest, key=largest.get)


def test_drop_path_rates_are_the_official_ones(name):
    model = timm.create_model(name, drop_path_rate=0.2)
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages for block in stage.blocks]
    constant = name.startswith("coat")
    expected = [0.2] * len(rates) if constant else torch.linspace(0, 0.2, len(rates)).tolist()
    assert rates == pytest.approx(expected)


@pytest.mark.parametrize("coarse", [True, False])
def test_parameters_group_by_block_or_stage(name, model, coarse):
    depth = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    assert {d for key, d in depth.items() if key.startswith("stages.0.embed.")} == {0}
    num_groups = 4 if coarse else sum(len(stage.blocks) for stage in model.stages)
    assert sorted(set(depth.values())) == list(range(num_groups + 2))
    assert depth["head.weight"] == num_groups + 1
    if not coarse:
        first_of_second = len(model.stages[0].blocks) + 1
        assert depth["stages.1.blocks.0.norm1.weight"] == first_of_second
        assert depth["stages.1.embed.proj.weight"] == first_of_second
    final = {"shunted_tiny": "stages.3.norm", "coat_serial_tiny": "norm"}.get(name)
    if final is not None:
        assert depth[f"{final}.weight"] == num_groups, "goes with the last block"


def test_own_checkpoint_loads_as_pretrained(name, model, image, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(model.state_dict(), path)
    overlay = {"file": str(path), "num_classes": 5}
    again = timm.create_model(name, num_classes=5, pretrained=True, pretrained_cfg_overlay=overlay)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), model(image))
