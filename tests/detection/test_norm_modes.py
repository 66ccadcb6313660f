"""Which batch norms take the batch's statistics: frozen or live, for backbone and MSCSA."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mscsa.detection import DETECTORS, Detector, build_detector
from tests.detection.small import OPTIONS, K, batch, small

MODES = [("frozen", "live"), ("live", "frozen"), ("frozen", "frozen"), ("live", "live")]


def norms_of(model: nn.Module) -> dict[str, _BatchNorm]:
    return {name: each for name, each in model.named_modules() if isinstance(each, _BatchNorm)}


def parts(model: Detector) -> dict[str, set[str]]:
    body = model.body.removesuffix(".")
    names = norms_of(model)
    return {
        "backbone": {name for name in names if name.startswith(f"{body}.backbone.")},
        "mscsa": {name for name in names if name.startswith((f"{body}.mscsa.", f"{body}.fusion."))},
    }


def assert_modes(model: Detector, backbone: str, mscsa: str) -> None:
    frozen = {"backbone": backbone == "frozen", "mscsa": mscsa == "frozen"}
    norms = norms_of(model)
    found = parts(model)
    assert all(found.values()) and found["backbone"] | found["mscsa"] == set(norms)
    for part, names in found.items():
        assert {norms[name].training for name in names} == {not frozen[part]}, part


@pytest.mark.parametrize(("backbone", "mscsa"), MODES)
@pytest.mark.parametrize("name", DETECTORS)
def test_modes_last(name: str, backbone: str, mscsa: str) -> None:
    with torch.device("meta"):
        model = small(name, "mscsa_resnet10t", backbone_norm=backbone, mscsa_norm=mscsa)
    assert_modes(model, backbone, mscsa)
    assert model.training
    model.eval()
    assert not any(each.training for each in norms_of(model).values())
    model.train()
    assert_modes(model, backbone, mscsa)
    # All else trains, and so do the parameters of frozen norms, as in MMDetection's norm_eval.
    others = [each for each in model.modules() if not isinstance(each, _BatchNorm)]
    assert all(each.training for each in others)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize("name", DETECTORS)
def test_the_backbone_is_frozen_and_mscsa_live_by_default(name: str) -> None:
    with torch.device("meta"):
        model = build_detector(name, "mscsa_resnet10t", K, **OPTIONS[name])
        plain = build_detector(name, "resnet10t", K, **OPTIONS[name])
    assert_modes(model, "frozen", "live")
    assert norms_of(plain) and not any(each.training for each in norms_of(plain).values())


@pytest.mark.parametrize("name", DETECTORS)
def test_a_step_moves_the_statistics_of_live_norms_alone(name: str) -> None:
    model = small(name, "mscsa_resnet10t", backbone_norm="frozen")
    before = {key: each.running_mean.clone() for key, each in norms_of(model).items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    images, targets = batch((64, 96, 1), (96, 64, 2))
    sum(model(images, targets).values()).backward()
    optimizer.step()
    norms = norms_of(model)
    same = {key for key, mean in before.items() if torch.equal(norms[key].running_mean, mean)}
    assert same == parts(model)["backbone"]
    assert all(norms[key].num_batches_tracked == 0 for key in same)
    assert any(norms[key].weight.grad.abs().max() > 0 for key in same)


@pytest.mark.parametrize("name", DETECTORS)
def test_synchronised_norms_keep_the_modes(name: str) -> None:
    with torch.device("meta"):
        model = small(name, "mscsa_resnet10t", backbone_norm="frozen")
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    assert isinstance(converted, Detector)
    assert all(isinstance(each, nn.SyncBatchNorm) for each in norms_of(converted).values())
    converted.eval()
    converted.train()
    assert_modes(converted, "frozen", "live")
