"""How a segmenter is asked: windows that cover all, means over windows, scales and mirror images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.transforms.v2.functional import pil_to_tensor

from mscsa.evaluation.segmentation_inference import SegmentationInference
from mscsa.segmentation import build_segmenter
from tests.evaluation.painter import Painter
from tests.evaluation.sided import SidePainter, scene
from tests.evaluation.torch_memory import peak_bytes


def test_a_window_sees_what_the_whole_sees_where_no_pixel_needs_its_neighbours() -> None:
    image = torch.rand(1, 3, 13, 22) * 3
    whole = SegmentationInference()(Painter(), image, (13, 22))
    for crop, stride in ((8, 5), (13, 13), (50, 20)):
        slide = SegmentationInference(window="slide", crop=crop, stride=stride)
        assert torch.allclose(slide(Painter(), image, (13, 22)), whole, atol=1e-5)


def test_overlaps_are_means_of_the_windows() -> None:
    class Position(nn.Module):
        """Logits that depend on the place in the window."""

        def forward(self, images: Tensor) -> Tensor:
            ramp = torch.arange(images.shape[-1], dtype=torch.float32).expand(1, 1, images.shape[-2], -1)
            return torch.cat([ramp, torch.zeros_like(ramp)], dim=1)

    slide = SegmentationInference(window="slide", crop=4, stride=3)
    found = slide(Position(), torch.zeros(1, 3, 4, 7), (4, 7))[0, :, 0]
    ramp = torch.tensor([0, 1, 2, (3 + 0) / 2, 1, 2, 3])
    assert torch.allclose(found[0] - found[1], ramp, atol=1e-6)


def test_flips_and_scales_are_averaged_as_probabilities() -> None:
    image = torch.rand(1, 3, 12, 16) * 3
    whole = SegmentationInference()(Painter(), image, (12, 16))
    flipped = SegmentationInference(flip=True)(Painter(), image, (12, 16))
    assert torch.allclose(flipped, whole, atol=1e-5)  # a pixel's own colour has no direction
    found = SegmentationInference(scales=(0.5, 1.0))(Painter(), image, (12, 16))
    half = nn.functional.interpolate(image, (6, 8), mode="bilinear")
    logits = nn.functional.interpolate(Painter()(half), (12, 16), mode="bilinear")
    assert torch.allclose(found.exp(), (logits.softmax(1) + whole.exp()) / 2, atol=1e-6)


@pytest.mark.parametrize("scales", [(1.0,), (1.0, 2.0)])
def test_a_mirror_image_swaps_left_and_right(scales: tuple[float, ...]) -> None:
    """A model that is exact on both sides stays so; without the swap each door is half of either."""
    image = pil_to_tensor(scene())[None].float() / 255
    size = (image.shape[-2], image.shape[-1])
    whole = SegmentationInference()(SidePainter(), image, size).argmax(dim=1)
    assert whole.unique().tolist() == [0, 1, 2]
    swapped = SegmentationInference(flip=True, mirrored=(0, 2, 1), scales=scales)
    assert torch.equal(swapped(SidePainter(), image, size).argmax(dim=1), whole)
    plain = SegmentationInference(flip=True)(SidePainter(), image, size).exp()
    assert torch.allclose(plain[:, 1][whole > 0], torch.tensor(0.5), atol=1e-3)


@pytest.fixture(scope="module")
def segmenter() -> nn.Module:
    torch.manual_seed(0)
    options = {"fpn_channels": 8, "head_channels": 8}
    return build_segmenter("semantic_fpn", "test_resnet", num_classes=50, **options).eval()


ASKED = [
    SegmentationInference(),
    SegmentationInference(window="slide", crop=64, stride=43),
    SegmentationInference(window="slide", crop=40, stride=40, scales=(0.5, 1.3), flip=True),
]


@pytest.mark.parametrize("inference", ASKED)
def test_bands_are_what_is_there_at_once(
    inference: SegmentationInference, segmenter: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.rand(2, 3, 70, 93)
    with torch.inference_mode():
        whole = inference(segmenter, images, (101, 90))
        monkeypatch.setattr("mscsa.evaluation.segmentation_inference._BAND_VALUES", 2 * 50 * 90 * 7)
        bands = list(inference.bands(segmenter, images, (101, 90)))
    assert [rows.stop - rows.start for rows, _ in bands] == [7] * 14 + [3]
    torch.testing.assert_close(torch.cat([each for _, each in bands], dim=-2), whole, rtol=1e-4, atol=1e-4)


def test_the_whole_image_at_once_is_what_the_model_says(segmenter: nn.Module) -> None:
    images = torch.rand(1, 3, 70, 93)
    with torch.inference_mode():
        found = SegmentationInference()(segmenter, images, (70, 93))
        assert torch.equal(found, segmenter(images).log_softmax(1))


@pytest.mark.parametrize(
    "inference",
    [
        ASKED[1],
        pytest.param(
            SegmentationInference(window="slide", crop=64, stride=43, flip=True), marks=pytest.mark.slow
        ),
    ],
)
def test_memory_grows_with_the_label_map_and_not_with_the_classes(
    inference: SegmentationInference, segmenter: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a higher image the windows of two rows are kept, and some bands, whatever its height."""
    monkeypatch.setattr("mscsa.evaluation.segmentation_inference._BAND_VALUES", 1 << 17)
    width = 256
    bands = 8 * 4 * (1 << 17)
    coarse = 2 * (width // 43 + 2) * 50 * 16**2 * 4

    def peak(height: int) -> int:
        images = torch.rand(1, 3, height, width)

        @torch.inference_mode()
        def segment() -> None:
            labels = torch.empty(height, width, dtype=torch.uint8)
            for rows, found in inference.bands(segmenter, images, (height, width)):
                labels[rows] = found[0].argmax(dim=0).to(torch.uint8)

        return peak_bytes(segment)

    low, high = peak(256), peak(768)
    sides = 2 if inference.flip else 1
    grown = 512 * width * (1 + 3 * 4 * (sides - 1))  # labels, and the mirrored image
    assert high - low <= grown + 0.2 * low
    assert high <= sides * (bands + coarse) + 768 * width * (1 + 3 * 4 * (sides - 1)) + 4 * 2**20
    assert high < 0.6 * 768 * width * 50 * 4


@pytest.mark.parametrize(
    "options", [{"stride": 0}, {"crop": 8, "stride": 9}, {"scales": ()}, {"scales": (0.0,)}]
)
def test_bad_options_are_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ValueError) as caught:
        SegmentationInference(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
