"""Backbones made of stages keep timm's model contract."""

import pytest
import timm
import torch
from timm.models import group_parameters, load_checkpoint

from mscsa.backbones.coat import SerialCoaT
from mscsa.backbones.p2t import P2T
from mscsa.backbones.shunted import Shunted
from tests.backbones.recording import count_parameters

CHANNELS = {
    "p2t_tiny": [48, 96, 240, 384],
    "shunted_tiny": [64, 128, 256, 512],
    "coat_serial_tiny": [152, 152, 152, 152],
}
SIZES_OF = {
    P2T: ("p2t_tiny", "p2t_small", "p2t_base"),
    Shunted: ("shunted_tiny", "shunted_small", "shunted_base"),
    SerialCoaT: ("coat_serial_tiny", "coat_serial_small"),
}


@pytest.fixture(params=CHANNELS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=5).eval()


@pytest.fixture
def image():
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("family", "name"), [(family, name) for family, names in SIZES_OF.items() for name in names]
)
def test_every_size_is_a_timm_model(family, name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=11, in_chans=4, drop_path_rate=0.1)
        assert model(torch.empty(1, 4, 64, 64)).shape == (1, 11)
    assert isinstance(model, family)
    cfg = model.pretrained_cfg
    assert cfg["architecture"] == name
    assert isinstance(model.get_submodule(cfg["first_conv"]), torch.nn.Conv2d)
    assert model.get_submodule(cfg["classifier"]) is model.get_classifier()


def test_features_and_head_make_the_logits(name, model, image):
    with torch.no_grad():
        features = model.forward_features(image)
        assert features.shape == (2, model.num_features, 2, 3)
        assert torch.equal(model.forward_head(features), model(image))
        pooled = model.forward_head(features, pre_logits=True)
    assert pooled.shape == (2, model.head_hidden_size)
    assert torch.allclose(pooled, features.mean((2, 3)))


def test_feature_info_describes_the_pyramid(name, model, image):
    with torch.no_grad():
        final, maps = model.forward_intermediates(image)
        assert torch.equal(final, model.forward_features(image))
    for info, x, channels, stride in zip(
        model.feature_info, maps, CHANNELS[name], (4, 8, 16, 32), strict=True
    ):
        assert (info["num_chs"], info["reduction"]) == (channels, stride)
        assert x.shape == (2, channels, 64 // stride, 96 // stride)
        model.get_submodule(info["module"])


def test_intermediates_take_indices_norm_and_early_stop(model, image):
    ran = []
    for stage in model.stages:
        stage.register_forward_hook(lambda stage, *_: ran.append(stage))
    with torch.no_grad():
        all_maps = model.forward_intermediates(image, intermediates_only=True)
        ran.clear()
        final, maps = model.forward_intermediates(image, indices=[0, 1], stop_early=True)
        assert len(ran) == 2
        assert torch.equal(final, all_maps[1])
        assert all(map(torch.equal, maps, all_maps[:2]))
        last = model.forward_intermediates(image, indices=1, norm=True, intermediates_only=True)
        assert torch.equal(last[0], model.forward_features(image))
    with pytest.raises(ValueError, match="'NLC'"):
        model.forward_intermediates(image, output_fmt="NLC")


def test_pruning_keeps_the_maps_and_drops_the_rest(model, image):
    with torch.no_grad():
        expected = model.forward_intermediates(image, [0, 2], intermediates_only=True)
        before = count_parameters(model)
        assert model.prune_intermediate_layers([0, -2], prune_norm=True) == [0, 2]
        assert count_parameters(model) < before / 1.2
        assert len(model.stages) == 3
        assert model.num_features == model.head_hidden_size == model.feature_info[2]["num_chs"]
        maps = model.forward_intermediates(image, [0, 2], intermediates_only=True)
        assert all(map(torch.equal, maps, expected))
        assert torch.equal(model(image), expected[1])


def test_pruning_can_keep_the_head(model, image):
    with torch.no_grad():
        expected = model(image)
        model.prune_intermediate_layers(4, prune_head=False)
        assert torch.equal(model(image), expected)


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 3), (0, 1), (-2,)])
def test_features_only_gives_the_levels_asked_for(name, model, image, indices):
    pyramid = timm.create_model(name, features_only=True, out_indices=indices).eval()
    load = {f"model.{key}": value for key, value in model.state_dict().items()}
    assert not pyramid.load_state_dict(load, strict=False).missing_keys
    channels = [CHANNELS[name][i] for i in indices]
    assert pyramid.feature_info.channels() == channels
    assert pyramid.feature_info.reduction() == [(4, 8, 16, 32)[i] for i in indices]
    with torch.no_grad():
        expected = model.forward_intermediates(image, list(indices), intermediates_only=True)
        assert all(map(torch.equal, pyramid(image), expected))


@pytest.mark.parametrize("form", ["classifier", "pyramid", "finest maps"])
def test_every_parameter_gets_a_gradient(name, form):
    torch.manual_seed(0)
    options = {
        "classifier": {"num_classes": 5},
        "pyramid": {"features_only": True},
        "finest maps": {"features_only": True, "out_indices": (0, 1)},
    }
    model = timm.create_model(name, **options[form]).double().train()
    outputs = model(torch.randn(2, 3, 64, 96).double())
    outputs = [outputs] if form == "classifier" else outputs
    sum((x * torch.randn_like(x)).sum() for x in outputs).backward()
    largest = {
        key: 0.0 if p.grad is None else p.grad.abs().max().item() for key, p in model.named_parameters()
    }
    assert min(largest.values()) > 1e-12, min(largest, key=largest.get)


def test_reset_classifier(model, image):
    model.double().train()
    model.reset_classifier(9)
    assert model.num_classes == 9
    assert model.get_classifier().weight.dtype == torch.float64
    assert model.get_classifier().training
    assert model(image.double()).shape == (2, 9)
    model.reset_classifier(0, "")
    assert model(image.double()).shape == (2, model.num_features, 2, 3)
    with pytest.raises(ValueError, match="global_pool='max'"):
        model.reset_classifier(3, "max")
    with pytest.raises(ValueError, match="num_classes=3"):
        model.reset_classifier(3)


def test_grad_checkpointing_recomputes_the_same(model, image):
    calls = []
    model.stages[2].blocks[1].register_forward_pre_hook(lambda *_: calls.append(1))
    gradients = []
    for enable in (False, True):
        model.set_grad_checkpointing(enable)
        model.zero_grad()
        model(image).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert len(calls) == 1 + 2
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_drop_rates_reach_their_places(name):
    model = timm.create_model(name, drop_rate=0.3, drop_path_rate=0.2)
    assert model.head_drop.p == 0.3
    rates = [getattr(block.drop_path, "drop_prob", 0.0) for stage in model.stages for block in stage.blocks]
    rising = torch.linspace(0, 0.2, len(rates)).tolist()
    constant = [0.2] * len(rates)  # the official CoaT has no ramp
    assert rates == pytest.approx(constant if name.startswith("coat") else rising)


@pytest.mark.parametrize("coarse", [True, False])
def test_parameters_group_by_depth(name, model, coarse):
    depth = group_parameters(model, model.group_matcher(coarse=coarse), reverse=True)
    assert set(depth) == {key for key, _ in model.named_parameters()}
    stem = [d for key, d in depth.items() if key.startswith("stages.0.embed")]
    assert set(stem) == {0}
    num_blocks = 4 if coarse else sum(len(stage.blocks) for stage in model.stages)
    assert depth["head.weight"] == num_blocks + 1
    assert sorted(set(depth.values())) == list(range(num_blocks + 2))
    in_order = [depth[f"stages.{i}.blocks.0.norm1.weight"] for i in range(4)]
    assert in_order == sorted(in_order)
    if not coarse:
        second = depth["stages.1.blocks.0.norm1.weight"]
        assert depth["stages.1.embed.proj.weight"] == second == len(model.stages[0].blocks) + 1
    final = {"shunted_tiny": "stages.3.norm", "coat_serial_tiny": "norm"}.get(name)
    if final is not None:
        assert depth[f"{final}.weight"] == num_blocks, "goes with the last block"
    assert model.no_weight_decay() <= set(depth)


def test_odd_sizes(name, model):
    sizes = [(96, 32), (160, 224)] if name.startswith("coat") else [(97, 131), (45, 200), (33, 65)]
    for height, width in sizes:
        with torch.no_grad():
            maps = model.forward_intermediates(torch.randn(1, 3, height, width), intermediates_only=True)
            assert model(torch.randn(1, 3, height, width)).isfinite().all()
        for x, stride in zip(maps, (4, 8, 16, 32), strict=True):
            height_here, width_here = x.shape[2:]
            assert abs(height_here - height / stride) < 1
            assert abs(width_here - width / stride) < 1


def test_exports_at_a_fixed_size(model, image):
    program = torch.export.export(model, (image,))
    with torch.no_grad():
        torch.testing.assert_close(program.module()(image), model(image), rtol=1e-5, atol=1e-5)


def test_own_checkpoint_loads_through_timm(name, model, image, tmp_path):
    path = tmp_path / "model.pth"
    torch.save(model.state_dict(), path)
    again = timm.create_model(name, num_classes=5, checkpoint_path=str(path)).eval()
    with torch.no_grad():
        assert torch.equal(again(image), model(image))
    load_checkpoint(again, str(path))
    overlay = {"file": str(path), "num_classes": 5}
    again = timm.create_model(name, num_classes=5, pretrained=True, pretrained_cfg_overlay=overlay)
    with torch.no_grad():
        assert torch.equal(again.eval()(image), model(image))
