"""FFN and Intra-FFN against the oracle."""

import pytest
import torch

from mscsa.attention import FeedForward
from tests.attention import oracle
from tests.attention.weights import feed_forward_weights, images, randomise, relative_error

STAGES = [4, 3, 6]


@pytest.mark.parametrize("size", [(5, 5), (3, 8), (1, 1)])
@pytest.mark.parametrize("mlp_ratio", [2, 1.5, 0.3])
def test_ffn_matches_the_oracle(mlp_ratio, size):
    ffn = randomise(FeedForward(STAGES, mlp_ratio, intra=False))
    x = images((2, 13, *size))
    expected = oracle.feed_forward(x.numpy(), feed_forward_weights(ffn)[0])
    assert relative_error(ffn(x), expected) <= 1e-10


@pytest.mark.parametrize("size", [(5, 5), (3, 8), (1, 1)])
@pytest.mark.parametrize("mlp_ratio", [2, 1.5, 0.3])
def test_intra_ffn_is_one_ffn_per_stage(mlp_ratio, size):
    ffn = randomise(FeedForward(STAGES, mlp_ratio, intra=True))
    x = images((2, 13, *size))
    weights = feed_forward_weights(ffn)
    assert [w.expand.matrix.shape[1] for w in weights] == STAGES
    assert relative_error(ffn(x), oracle.intra_feed_forward(x.numpy(), weights)) <= 1e-10


def test_intra_ffn_keeps_the_stages_apart():
    ffn = randomise(FeedForward(STAGES, 2, intra=True))
    x = images((1, 13, 4, 4)).requires_grad_()
    (gradient,) = torch.autograd.grad(ffn(x)[:, 4:7].sum(), x)
    assert gradient[:, 4:7].abs().min() > 0
    assert gradient[:, :4].abs().max() == 0 and gradient[:, 7:].abs().max() == 0


@pytest.mark.parametrize("intra", [True, False])
def test_gradient(intra):
    ffn = randomise(FeedForward([2, 3], 2, intra=intra))
    assert torch.autograd.gradcheck(ffn, images((1, 5, 3, 2)).requires_grad_())
