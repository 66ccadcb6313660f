"""`mscsa.create_model`: which configuration a name gets, what a model inherits, what is refused."""

from dataclasses import replace

import pytest
import timm
import torch
from timm.layers import DropPath as TimmDropPath

import mscsa
from mscsa.attention import MSCSAConfig
from mscsa.attention.module import DropPath
from mscsa.backbones.presets import PRESETS
from mscsa.errors import UserError
from mscsa.macs import count_macs, run_and_count
from mscsa.models.build import create_model
from tests.small_models import RESNET, SWIN

LIGHT = MSCSAConfig(num_heads=2, head_dim=8, squeeze_ratio=0.25)


@pytest.fixture
def on_meta():
    """Build without data."""
    with torch.device("meta"):
        yield


@pytest.mark.usefixtures("on_meta")
def test_a_row_of_table_7_gets_its_configuration():
    assert create_model("pvt_v2_b1").mscsa.config == PRESETS["pvt_v2_b1"].config
    assert create_model("pvt_v2_b1.in1k").mscsa.config == PRESETS["pvt_v2_b1"].config
    # The class form pools CoaT to 1/16, the dense form to 1/32.
    preset = PRESETS["coat_serial_tiny"]
    assert create_model("coat_serial_tiny").mscsa.config.pool_stride == preset.config.pool_stride == 16
    dense = create_model("coat_serial_tiny", features_only=True).mscsa.config
    assert dense.pool_stride == preset.dense_pool_stride == 32


@pytest.mark.usefixtures("on_meta")
def test_fields_replace_single_ones():
    expected = replace(PRESETS["resnet18"].config, depth=2, num_heads=4, init="identity")
    assert create_model("resnet18", depth=2, num_heads=4, init="identity").mscsa.config == expected
    assert create_model("resnet10t", config=LIGHT, depth=2).mscsa.config == replace(LIGHT, depth=2)
    # The widths are given, nothing is left to solve for.
    fields = dict(num_heads=2, head_dim=8, squeeze_ratio=0.25)
    assert create_model("resnet10t", **fields).mscsa.config == MSCSAConfig(**fields)


def added_share(model: mscsa.MSCSAModel, size: tuple[int, int]) -> float:
    """Measured MACs of MSCSA (and fusion) over those of timm's own model of the same form."""
    image = torch.empty(1, 3, *size, device="meta")
    name = model.backbone.pretrained_cfg["architecture"]
    attended = [level.index for level in model.levels if level.stride >= 4]
    _, own = run_and_count(lambda: model.eval().read(image, attended))
    head = 0 if model.is_pyramid else model.head.weight.numel()
    if model.is_pyramid:
        plain = timm.create_model(name, features_only=True, out_indices=model.out_indices)
    else:
        plain = timm.create_model(name)
    return (count_macs(model, size) - head - own) / count_macs(plain, size)


@pytest.mark.parametrize("budget", [None, 0.05, 0.25, 1.0])
@pytest.mark.parametrize("name", ["resnet10t", "test_convnext", "mobilenetv3_small_050"])
@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.usefixtures("on_meta")
def test_the_cost_lies_within_the_budget(name, budget, features_only):
    """Measured, not solved: MSCSA's products against timm's own model, at the default size."""
    model = create_model(name, budget=budget, features_only=features_only)
    wanted = budget or 0.10
    assert 0.899 * wanted <= added_share(model, model.pretrained_cfg["input_size"][-2:]) <= 1.001 * wanted


@pytest.mark.usefixtures("on_meta")
def test_the_budget_holds_at_the_size_asked_for():
    for given, size in ((64, (64, 64)), ((128, 256), (128, 256))):
        model = create_model("resnet10t", budget=0.2, budget_size=given, pool_stride=8)
        assert model.mscsa.config.pool_stride == 8
        assert 0.18 <= added_share(model, size) <= 0.2002


@pytest.mark.usefixtures("on_meta")
def test_an_impossible_budget_names_possible_costs():
    with pytest.raises(ValueError, match=r"no MSCSA fits a budget of .* the nearest cost .* GMACs"):
        create_model("resnet10t", budget=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="resnet19"), r"no model is called 'resnet19': did you mean .*resnet18"),
        (dict(name="qqqqqqqq"), r"no model is called 'qqqqqqqq': `mscsa list` shows all names"),
        (dict(name="vit_tiny_patch16_224"), "the backbone vit_tiny_patch16_224 has maps at strides"),
        (dict(name="resnet10t", nun_heads=2), "unknown keyword nun_heads: did you mean num_heads"),
        (dict(name="resnet10t", qqq=2), "unknown keyword qqq: MSCSAConfig has depth, .*backbone_kwargs"),
        (dict(name="resnet10t", config=LIGHT, budget=0.1), "both config and budget given"),
        (dict(name="resnet10t", budget=0), "budget=0 given: give the share of the backbone's MACs"),
        (dict(name="resnet10t", budget=-0.1), "budget=-0.1 given"),
        (dict(name="resnet10t", budget=15), "budget=15 given"),
        (dict(name="resnet10t", budget=float("nan")), "budget=nan given"),
        (dict(name="resnet10t", backbone_kwargs={"nonsense": 1}), "does not take {.*'nonsense': 1"),
        (dict(name="resnet10t", config=LIGHT, features_only=True, out_indices=(7,)), "the levels are"),
    ],
)
def test_refused_in_one_line(arguments, message):
    with pytest.raises(mscsa.UserError, match=message) as caught:
        create_model(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("on_meta")
def test_a_field_out_of_range_is_a_value_error():
    with pytest.raises(ValueError, match="depth=0 is not allowed"):
        create_model("resnet18", depth=0)


@pytest.mark.parametrize("name", ["resnet18", "pvt_v2_b0", "swin_tiny_patch4_window7_224"])
@pytest.mark.usefixtures("on_meta")
def test_input_description_is_the_backbones(name):
    cfg = create_model(name).pretrained_cfg
    own = timm.get_pretrained_cfg(name).to_dict()
    for key in ("mean", "std", "crop_pct", "interpolation", "input_size"):
        assert cfg[key] == own[key], key
    assert cfg["architecture"] == f"mscsa_{name}" and cfg["classifier"] == "head"
    assert cfg["first_conv"] == f"backbone.{own['first_conv']}"
    assert cfg.get("num_classes") == 1000
    assert not any(cfg.get(key) for key in ("url", "file", "hf_hub_id"))


def test_default_cfg_is_the_same_object():
    model = RESNET.build()
    assert model.default_cfg is model.pretrained_cfg


def test_input_description_resolves_in_timm():
    data = timm.data.resolve_model_data_config(RESNET.build())
    own = timm.data.resolve_model_data_config(timm.create_model(RESNET.name))
    assert data == own


def drop_rates(model: torch.nn.Module) -> tuple[float, float]:
    """Largest rate of the backbone, and MSCSA's."""
    own = [m.drop_prob for m in model.backbone.modules() if isinstance(m, TimmDropPath)]
    rates = {m.prob for m in model.mscsa.modules() if isinstance(m, DropPath)}
    assert len(rates) == 1
    return max(own, default=0.0), rates.pop()


@pytest.mark.parametrize(("given", "expected"), [(None, (0.1, 0.1)), (0.0, (0.0, 0.0)), (0.3, (0.3, 0.3))])
@pytest.mark.usefixtures("on_meta")
def test_drop_path_rate_goes_to_both(given, expected):
    """timm's Swin-T has 0.1 of its own."""
    model = create_model(SWIN.name, drop_path_rate=given, config=None, backbone_kwargs=SWIN.backbone_kwargs)
    assert drop_rates(model) == pytest.approx(expected)


@pytest.mark.usefixtures("on_meta")
def test_backbone_kwargs_reach_the_backbone():
    model = create_model("pvt_v2_b0", backbone_kwargs={"depths": (1, 1, 1, 1)}, depth=2)
    assert len(model.backbone.stages[0].blocks) == 1 and len(model.mscsa.blocks) == 2


def save_backbone(name: str, path, **kwargs) -> torch.nn.Module:
    """A backbone with weights of no default, and its state dict in a file."""
    torch.manual_seed(5)
    plain = timm.create_model(name, **kwargs).eval()
    torch.save(plain.state_dict(), path)
    return plain


def test_pretrained_weights_land_in_the_backbone(tmp_path):
    plain = save_backbone("resnet10t", tmp_path / "weights.pth")
    overlay = dict(file=str(tmp_path / "weights.pth"))
    model = create_model("resnet10t", pretrained=True, pretrained_cfg_overlay=overlay, config=LIGHT)
    state = plain.state_dict()
    for key, value in model.backbone.state_dict().items():
        assert torch.equal(value, state[key]), key


def test_pretrained_weights_adapt_to_other_input_channels(tmp_path):
    plain = save_backbone("resnet10t", tmp_path / "weights.pth")
    overlay = dict(file=str(tmp_path / "weights.pth"))
    model = create_model(
        "resnet10t", pretrained=True, pretrained_cfg_overlay=overlay, in_chans=1, config=LIGHT
    )
    expected = plain.conv1[0].weight.sum(dim=1, keepdim=True)
    torch.testing.assert_close(model.backbone.conv1[0].weight, expected)


@pytest.mark.parametrize("tag", ["resnet10t.no_such_tag"])
def test_a_pretrained_tag_that_timm_does_not_know_is_refused(tag):
    with pytest.raises((mscsa.UserError, RuntimeError), match="no_such_tag"):
        create_model(tag, config=LIGHT)


def test_what_create_model_sets_itself_is_no_argument_of_the_backbone():
    with pytest.raises(UserError, match="backbone_kwargs has in_chans: give it to create_model itself"):
        mscsa.create_model("test_resnet", backbone_kwargs={"in_chans": 4})


def test_drop_path_rate_reaches_a_given_config():
    config = mscsa.MSCSAConfig(num_heads=2, head_dim=4)
    model = mscsa.create_model("resnet10t", config=config, drop_path_rate=0.2)
    assert model.mscsa.config.drop_path_rate == 0.2


def test_a_pyramid_without_a_fused_level_is_refused():
    with pytest.raises(UserError, match=r"out_indices=\(0,\) asks for levels that MSCSA leaves as they are"):
        mscsa.create_model("resnet10t", features_only=True, out_indices=(0,))
