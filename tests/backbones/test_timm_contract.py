"""The parts of timm's contract that the backbones share."""

import warnings

import pytest
import timm
import torch
from torch import nn

from mscsa.backbones import FAMILIES
from mscsa.backbones.timm_contract import (
    boundary_check,
    check_batch_values,
    check_output_format,
    chosen_pooling,
    describe_sizes,
    start_small,
)
from mscsa.errors import UserError


def test_every_family_is_what_the_table_says():
    for family in FAMILIES:
        assert family.default_cfgs and callable(family.checkpoint_filter_fn)
        sizes = []
        for name in family.default_cfgs:
            assert timm.is_model(name)
            model = timm.create_model(name, device="meta")
            assert type(model).__module__ == family.__name__
            sizes.append(sum(p.numel() for p in model.parameters()))
        assert sizes == sorted(sizes), "smallest first"


def test_description_is_of_imagenet_unless_told_otherwise():
    cfgs = describe_sizes(["a", "b"], first_conv="stem", classifier="head", crop_pct=0.9, license="mit")
    assert list(cfgs) == ["a", "b"]
    cfg = cfgs["b"].default
    assert cfg.input_size == (3, 224, 224) and cfg.pool_size == (7, 7) and cfg.num_classes == 1000
    assert (cfg.first_conv, cfg.classifier, cfg.crop_pct, cfg.license) == ("stem", "head", 0.9, "mit")
    assert not cfg.has_weights


@pytest.mark.parametrize("feature_cls", ["list", "dict"])
@pytest.mark.parametrize("name", ["p2t_tiny", "shunted_tiny", "coat_serial_tiny"])
def test_rows_of_stages_can_be_taken_apart_by_timm(name, feature_cls):
    torch.manual_seed(0)
    expected = timm.create_model(name).eval()
    torch.manual_seed(0)
    pyramid = timm.create_model(name, features_only=True, feature_cls=feature_cls, out_indices=(0, 2)).eval()
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = pyramid(image)
        maps = list(maps.values()) if feature_cls == "dict" else maps
        for got, want in zip(maps, expected.forward_intermediates(image, [0, 2])[1], strict=True):
            torch.testing.assert_close(got, want)


@pytest.mark.parametrize(
    ("given", "current", "num_classes", "chosen"),
    [
        (None, "avg", 3, "avg"),
        (None, "", 0, ""),
        (None, "", 3, "avg"),
        ("avg", "", 3, "avg"),
        ("", "avg", 0, ""),
    ],
)
def test_pooling_is_what_is_given_or_what_was(given, current, num_classes, chosen):
    assert chosen_pooling(given, current, num_classes) == chosen


@pytest.mark.parametrize(
    ("given", "num_classes", "message"),
    [
        ("max", 3, "global_pool='max' given with num_classes=3: give 'avg'"),
        ("", 3, "global_pool='' given with num_classes=3"),
        ("avg", -1, "num_classes=-1 given: give 1 or more, or 0"),
        ("avg", "3", "num_classes='3' given: give 1 or more, or 0"),
    ],
)
def test_impossible_heads_are_refused(given, num_classes, message):
    with pytest.raises(UserError, match=message):
        chosen_pooling(given, "avg", num_classes)


def test_one_layout_of_maps():
    check_output_format("NCHW")
    with pytest.raises(UserError, match="'NLC' is not allowed: give 'NCHW'"):
        check_output_format("NLC")


@pytest.mark.parametrize(
    ("shape", "stride", "training", "is_refused"),
    [
        ((1, 8), 1, True, True),
        ((2, 8), 1, True, False),
        ((1, 8), 1, False, False),
        ((1, 3, 32, 32), 32, True, True),
        ((1, 3, 33, 32), 32, True, False),
        ((2, 3, 32, 32), 32, True, False),
        ((0, 3, 32, 32), 32, True, False),
        ((1, 3, 32, 32), 16, True, False),
    ],
)
def test_norms_need_two_values_in_training(shape, stride, training, is_refused):
    if is_refused:
        with pytest.raises(UserError, match="more than 1 value per channel"):
            check_batch_values(torch.zeros(shape), stride, training)
    else:
        check_batch_values(torch.zeros(shape), stride, training)


def test_checks_stay_out_of_traces():
    @boundary_check
    def refuse(x):
        raise UserError("never")

    class Checked(nn.Module):
        def forward(self, x):
            refuse(x)
            return x + 1

    with pytest.raises(UserError):
        Checked()(torch.zeros(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Checked(), torch.zeros(2), check_trace=False)
    assert torch.equal(traced(torch.ones(3)), torch.full((3,), 2.0))


def test_the_layers_of_the_classes_start_small_and_no_others():
    """Of an MLP the last one; of several classifiers all, convolutions too (DLA's)."""
    mlp, plain = nn.Sequential(nn.Linear(64, 32), nn.GELU(), nn.Linear(32, 8)), nn.Linear(64, 8, bias=False)
    before = mlp[0].weight.clone()
    conv = timm.create_model("dla34", num_classes=8).get_classifier()
    assert conv.weight.std() > 0.1  # as timm draws it
    start_small((mlp, plain, conv), 8)
    assert torch.equal(mlp[0].weight, before)
    for layer in (mlp[2], plain, conv):
        assert 0.015 < layer.weight.std() < 0.025
    assert not mlp[2].bias.any()
