"""Which configuration a name, a budget or single fields give."""

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from timm.layers import DropPath as TimmDropPath

import mscsa
from mscsa.attention import MSCSAConfig
from mscsa.attention.module import DropPath
from mscsa.backbones.presets import PRESETS
from mscsa.macs import count_macs, run_and_count
from mscsa.models.build import create_model
from tests.small_models import SWIN

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
    expected = replace(PRESETS["resnet18"].config, depth=2, num_heads=4, init="fan_in")
    assert create_model("resnet18", depth=2, num_heads=4, init="fan_in").mscsa.config == expected
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


@pytest.mark.parametrize(
    "budget", [None, 0.25, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.05, 1.0))]
)
@pytest.mark.parametrize(
    "name",
    [
        "resnet10t",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("test_convnext", "mobilenetv3_small_050")),
    ],
)
@pytest.mark.parametrize("features_only", [False, True])
@pytest.mark.usefixtures("on_meta")
def test_the_cost_lies_within_the_budget(name, budget, features_only):
    """Measured, not solved: MSCSA's products against timm's own model, at the default size."""
    model = create_model(name, budget=budget, features_only=features_only)
    wanted = budget or 0.10
    assert 0.899 * wanted <= added_share(model, model.pretrained_cfg["input_size"][-2:]) <= 1.001 * wanted


@pytest.mark.usefixtures("on_meta")
def test_the_budget_holds_at_the_size_asked_for():
    for given, size in ((64, (64, 64)), (np.int64(64), (64, 64)), (np.array([128, 256]), (128, 256))):
        model = create_model("resnet10t", budget=0.2, budget_size=given, pool_stride=8)
        assert model.mscsa.config.pool_stride == 8
        assert 0.18 <= added_share(model, size) <= 0.2002


@pytest.mark.usefixtures("on_meta")
def test_an_impossible_budget_names_possible_costs():
    with pytest.raises(ValueError, match=r"no MSCSA fits a budget of .* the nearest cost .* GMACs"):
        create_model("resnet10t", budget=1e-6)


@pytest.mark.usefixtures("on_meta")
def test_a_field_out_of_range_is_a_value_error():
    with pytest.raises(ValueError, match="depth=0 is not allowed"):
        create_model("resnet18", depth=0)


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


def test_drop_path_rate_reaches_a_given_config():
    config = mscsa.MSCSAConfig(num_heads=2, head_dim=4)
    model = mscsa.create_model("resnet10t", config=config, drop_path_rate=0.2)
    assert model.mscsa.config.drop_path_rate == 0.2


def test_a_budget_on_a_backbone_that_timm_does_not_describe():
    """Built from its class, it has no default size of its own: that of timm holds."""
    by_hand = timm.models.ResNet(timm.models.resnet.BasicBlock, (1, 1, 1, 1))
    assert not hasattr(by_hand, "pretrained_cfg")
    model = mscsa.add_to(by_hand, budget=0.1)
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 1000)
