"""segmentation_models_pytorch's `tu-` encoders take MSCSA by name."""

import segmentation_models_pytorch as smp
import torch

import mscsa  # noqa: F401  registers the names


def test_unet_learns():
    model = smp.Unet("tu-mscsa_pvt_v2_b0", encoder_weights=None, classes=3)
    assert model.encoder.out_channels == [3, 0, 32, 64, 160, 256]
    image = torch.rand(2, 3, 64, 96)
    logits = model(image)
    assert logits.shape == (2, 3, 64, 96)
    logits.square().mean().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_encoder_maps_are_the_fused_ones():
    encoder = smp.FPN("tu-mscsa_pvt_v2_b0", encoder_weights=None).encoder.eval()
    image = torch.rand(1, 3, 64, 64)
    for ours, expected in zip(encoder(image)[2:], encoder.model(image), strict=True):
        assert torch.equal(ours, expected)
