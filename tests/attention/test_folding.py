"""Norms that are folded compute what they computed before."""

from __future__ import annotations

import pytest
import torch
from timm.models import reparameterize_model
from torch import nn

from mscsa.attention import MSCSANeck
from mscsa.attention.folding import (
    FoldedNorm,
    NormedSequential,
    fold_before,
    fold_behind,
    is_folded,
    refuse_training,
)
from mscsa.attention.module import MSCSABlock
from tests.attention.weights import images, randomise

CHANNELS, STRIDES = (8, 12, 16), (4, 8, 16)
ODD = ((17, 23), (9, 12), (5, 6))


def norms(module: nn.Module) -> list[str]:
    return [
        name for name, each in module.named_modules() if isinstance(each, nn.modules.batchnorm._BatchNorm)
    ]


def neck(**fields: object) -> MSCSANeck:
    config = {"num_heads": 2, "head_dim": 4, "squeeze_ratio": 0.5, "pool_stride": 16, **fields}
    built = MSCSANeck(CHANNELS, STRIDES, config)
    randomise(built)
    return built


def maps(sizes: tuple[tuple[int, int], ...] = ODD) -> list[torch.Tensor]:
    return [images((2, c, *size)) for c, size in zip(CHANNELS, sizes, strict=True)]


def assert_same(ours, expected) -> None:
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-11 * float(b.detach().abs().max()))


class Row(nn.Module):
    """A norm behind a convolution and before 1x1 ones."""

    def __init__(self, **conv: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(6, 10, 3, padding=1, **conv)  # type: ignore[arg-type]
        self.behind = nn.BatchNorm2d(10)
        self.before = nn.BatchNorm2d(10, eps=1e-2)
        self.a, self.b = nn.Conv2d(4, 3, 1), nn.Conv2d(6, 2, 1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a, b = self.before(torch.tanh(self.behind(self.conv(x)))).split([4, 6], dim=1)
        return torch.cat([self.a(a), self.b(b)], dim=1)


@pytest.mark.parametrize("conv", [{}, {"bias": False}, {"groups": 2}, {"stride": 2, "dilation": 2}])
def test_a_norm_behind_and_one_before(conv: dict[str, object]) -> None:
    row, x = Row(**conv), images((2, 6, 7, 9))
    randomise(row)
    expected = row(x)
    assert fold_behind(row, "conv", "behind") and fold_before(row, "before", row.a, row.b)
    assert not norms(row) and is_folded(row)
    assert_same([row(x)], [expected])
    assert not any(parameter.requires_grad for parameter in row.parameters())


def test_a_norm_without_weights() -> None:
    row, x = Row(), images((2, 6, 7, 9))
    row.behind, row.before = nn.BatchNorm2d(10, affine=False), nn.BatchNorm2d(10, affine=False)
    randomise(row)
    expected = row(x)
    assert fold_behind(row, "conv", "behind") and fold_before(row, "before", row.a, row.b)
    assert_same([row(x)], [expected])


def test_float32_is_rounded_once() -> None:
    row, x = Row(), images((2, 6, 7, 9))
    randomise(row)
    expected = row(x)
    row.float()
    fold_behind(row, "conv", "behind")
    fold_before(row, "before", row.a, row.b)
    assert {parameter.dtype for parameter in row.parameters()} == {torch.float32}
    torch.testing.assert_close(
        row(x.float()), expected.float(), rtol=0, atol=1e-6 * float(expected.detach().abs().max())
    )


def test_the_memory_layout_stays() -> None:
    row = Row().eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fold_behind(row, "conv", "behind")
    assert row.conv.weight.is_contiguous(memory_format=torch.channels_last)


class Louder(nn.BatchNorm2d):
    """A norm that does more."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * super().forward(x)


def test_what_is_no_plain_pair_stays() -> None:
    row = Row().eval()
    row.conv.register_forward_hook(lambda module, args, out: out + 1)
    assert not fold_behind(row, "conv", "behind")
    row = Row().eval()
    row.behind = nn.BatchNorm2d(10, track_running_stats=False)
    assert not fold_behind(row, "conv", "behind")
    row.behind = Louder(10)
    assert not fold_behind(row, "conv", "behind")
    row.a = nn.Conv2d(4, 3, 1, padding=1)  # pads with zeros what comes out of the norm
    assert not fold_before(row, "before", row.a, row.b)
    assert len(norms(row)) == 2 and not is_folded(row)


def test_a_row_folds_each_norm_behind_a_convolution() -> None:
    row = NormedSequential(
        nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.BatchNorm2d(4)
    )
    randomise(row)
    x = images((2, 3, 5, 6))
    expected = row(x)
    assert row.fuse() is row
    assert norms(row) == ["0", "4"]
    assert_same([row(x)], [expected])


@pytest.mark.parametrize(
    "fields",
    [{}, {"depth": 2}, {"squeeze_ratio": 1.0}, {"intra_ffn": False}, {"downsampling": "none"}],
    ids=str,
)
@pytest.mark.parametrize("sizes", [ODD, ((4, 4), (2, 2), (1, 1))], ids=["odd", "one_token"])
def test_a_whole_neck_found_by_timm(fields: dict[str, object], sizes: tuple[tuple[int, int], ...]) -> None:
    original = neck(**fields)
    folded = reparameterize_model(original)
    left = [
        f"mscsa.blocks.{i}.{norm}" for i in range(original.mscsa.config.depth) for norm in ("norm1", "norm3")
    ]
    assert norms(folded) == left
    assert_same(folded(maps(sizes)), original(maps(sizes)))
    again = reparameterize_model(folded)
    for a, b in zip(again.state_dict().values(), folded.state_dict().values(), strict=True):
        assert torch.equal(a, b)


def test_the_original_is_as_it_was() -> None:
    original = neck()
    before = {key: value.clone() for key, value in original.state_dict().items()}
    reparameterize_model(original)
    assert before.keys() == original.state_dict().keys()
    assert all(torch.equal(value, before[key]) for key, value in original.state_dict().items())
    original.train()


def test_an_adapter_in_place_of_a_convolution_keeps_the_norm() -> None:
    block = MSCSABlock((4, 6), neck().mscsa.config)
    block.ffn2.expand = nn.Sequential(block.ffn2.expand)
    assert "norm4" in norms(block.fuse()) and "norm2" not in norms(block)


def test_what_is_folded_refuses_training() -> None:
    folded = reparameterize_model(neck())
    with pytest.raises(
        ValueError, match="folded into its convolutions.*train the model that it was folded from"
    ):
        folded.train()
    folded.eval()
    with pytest.raises(ValueError, match="folded"):
        refuse_training(folded, True)
    assert not any(module.training for module in folded.modules())
    refuse_training(folded, False)
    refuse_training(neck(), True)
    with pytest.raises(ValueError, match="folded"):
        FoldedNorm().train()
