"""segmentation_models_pytorch's `tu-` encoders take MSCSA by name."""

import pytest
import segmentation_models_pytorch as smp
import torch

import mscsa


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


def test_a_backbone_beyond_the_papers():
    model = smp.Unet("tu-mscsa", backbone="mobilenetv3_small_050", encoder_weights=None, classes=3).eval()
    assert isinstance(model.encoder.model, mscsa.MSCSAModel)
    assert model(torch.rand(1, 3, 64, 96)).shape == (1, 3, 64, 96)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_a_resnet_gives_the_strides_that_smp_counts_on(depth):
    """With a level of stride 2, as timm's own ResNet does: no level is lost, no map is at another size."""
    encoder = smp.encoders.get_encoder("tu-mscsa_resnet18", weights=None, depth=depth).eval()
    plain = smp.encoders.get_encoder("tu-resnet18", weights=None, depth=depth).eval()
    image = torch.rand(1, 3, 64, 96)
    assert encoder.out_channels == plain.out_channels
    assert [x.shape for x in encoder(image)] == [x.shape for x in plain(image)]


@pytest.mark.parametrize(
    "architecture", ["Unet", "FPN", "UPerNet", "Linknet", "PSPNet", "MAnet", "Segformer"]
)
def test_logits_of_a_resnet_have_the_size_of_the_image(architecture):
    model = getattr(smp, architecture)("tu-mscsa_resnet18", encoder_weights=None, classes=2).eval()
    assert model(torch.rand(1, 3, 64, 96)).shape == (1, 2, 64, 96)


@pytest.mark.parametrize("architecture", ["DeepLabV3", "DeepLabV3Plus"])
def test_dilated_encoders(architecture):
    """`output_stride` reaches the backbone, where it has one."""
    model = getattr(smp, architecture)("tu-mscsa_resnet18", encoder_weights=None, classes=2).eval()
    assert model(torch.rand(1, 3, 64, 96)).shape == (1, 2, 64, 96)
