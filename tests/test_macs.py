"""Counting whole models."""

import pytest
import timm
import torch
from torch import nn

from mscsa.macs import count_macs, count_parameters, run_and_count


@pytest.mark.parametrize(
    ("name", "gmacs"), [("resnet18", 1.814), ("resnet50", 4.089), ("pvt_v2_b0", 0.566), ("pvt_v2_b1", 2.108)]
)
def test_known_models(name, gmacs):
    """Counted once with attention unfused; the fused count of PVTv2 is 4 to 7 % lower."""
    with torch.device("meta"):
        model = timm.create_model(name)
    assert count_macs(model) == pytest.approx(gmacs * 1e9, abs=0.0006e9)


def test_a_convolution_by_hand():
    assert count_macs(nn.Conv2d(3, 8, 3, padding=1, bias=True), (10, 20)) == 10 * 20 * 27 * 8
    assert count_macs(nn.Conv2d(4, 8, 1), (5, 5), in_chans=4) == 25 * 32


def test_attention_is_counted():
    class Attention(nn.Module):
        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)  # (1, 1, 48, 3)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    assert count_macs(Attention(), (6, 8)) == 2 * 48 * 48 * 3


def test_modes_and_ways_to_attend_count_alike():
    class Explicit(nn.Module):
        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2)
            return (tokens @ tokens.transpose(1, 2)).softmax(-1) @ tokens

    class Fused(nn.Module):
        def forward(self, x):
            tokens = x.flatten(2).transpose(1, 2).unsqueeze(1)
            return nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)

    counts = {count_macs(kind().train(mode), (6, 8)) for kind in (Explicit, Fused) for mode in (True, False)}
    assert counts == {2 * 48 * 48 * 3}
    with torch.device("meta"):
        model = timm.create_model("mscsa_pvt_v2_b0", drop_path_rate=0.1)
    assert count_macs(model.train()) == count_macs(model.eval())


def test_the_model_is_left_alone():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count_macs(model)
    assert model.training and next(model.parameters()).device.type == "cpu"
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_what_is_run_can_be_chosen():
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 5, 1))
    macs = count_macs(model, (6, 7), run=lambda skeleton, image: skeleton[0](image))
    assert macs == 6 * 7 * 12


def test_part_of_a_parameter_that_goes_into_a_module_is_counted():
    """torch's counter trips over it while the parameter wants a gradient."""

    class Queries(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Parameter(torch.zeros(4, 6))
            self.layer = nn.Linear(3, 2)

        def forward(self, x):
            return self.layer(torch.split(self.table, 3, dim=1)[0].unsqueeze(0).expand(1, -1, -1))

    model = Queries()
    assert count_macs(model) == 4 * 3 * 2
    assert model.table.requires_grad


def test_run_and_count_gives_the_result():
    result, macs = run_and_count(lambda: torch.ones(2, 3, device="meta") @ torch.ones(3, 4, device="meta"))
    assert result.shape == (2, 4) and macs == 24


def test_shared_parameters_count_once():
    layer = nn.Linear(3, 3)
    assert count_parameters(nn.Sequential(layer, layer)) == 12
