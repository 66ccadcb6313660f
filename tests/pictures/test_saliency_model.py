"""The model that is looked into, and how it wants its images."""

from __future__ import annotations

import pytest
import torch
from PIL import Image
from torch import nn

from mscsa.attention import MSCSA
from mscsa.errors import UserError
from mscsa.pictures import saliency_model
from mscsa.pictures.saliency_model import SaliencyModel, load_saliency_model


@pytest.mark.parametrize(
    ("name", "checkpoint", "message"),
    [
        (None, None, "give either --model NAME or --checkpoint FILE"),
        ("mscsa_resnet18", "best.safetensors", "give either --model NAME or --checkpoint FILE"),
        ("resnet18", None, "model resnet18 has no MSCSA to look into: give mscsa_resnet18"),
        ("mscsa_resnet1", None, "no model is called 'resnet1': did you mean"),
        (None, "nosuch.safetensors", "checkpoint nosuch.safetensors is not there"),
    ],
)
def test_bad_input_is_one_line(name: str | None, checkpoint: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_saliency_model(name, checkpoint)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "heads"), [("mscsa_resnet18", 8), ("mscsa_resnet18.a1_in1k", 8), ("mscsa_test_resnet", None)]
)
def test_a_model_by_name(name: str, heads: int | None) -> None:
    """Registered, with a tag, and of a backbone that the paper does not have."""
    loaded = load_saliency_model(name, None, size=(64, 96))
    (attention,) = (module for module in loaded.model.modules() if isinstance(module, MSCSA))
    assert heads in (None, attention.config.num_heads)
    assert (loaded.name, loaded.size, loaded.is_trained) == (name, (64, 96), False)
    assert not loaded.model.training


def test_the_default_size_is_the_models() -> None:
    assert load_saliency_model("mscsa_test_resnet", None).size == (160, 160)


def test_a_trained_model_without_mscsa_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Info:
        class model:
            name = "resnet10t"

    monkeypatch.setattr(saliency_model, "load_trained", lambda _: (nn.Conv2d(3, 3, 1), Info))
    with pytest.raises(UserError, match="best.safetensors holds resnet10t without MSCSA"):
        load_saliency_model(None, "best.safetensors")


def test_images_are_resized_and_normalised() -> None:
    mean, std = (0.5, 0.25, 0.0), (0.5, 0.25, 1.0)
    loaded = SaliencyModel(name="m", model=nn.Identity(), size=(4, 6), mean=mean, std=std, is_trained=False)
    picture, pixels = loaded.prepare(Image.new("RGB", (30, 50), (255, 0, 51)))
    assert picture.size == (6, 4)
    expected = torch.tensor([1.0, -1.0, 0.2])[:, None, None].expand(3, 4, 6)
    assert torch.allclose(pixels, expected)
