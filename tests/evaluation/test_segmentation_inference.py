"""How a segmenter is asked: windows that cover all, means over windows, scales and mirror images."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscsa.evaluation.segmentation_inference import SegmentationInference, window_starts
from tests.evaluation.painter import Painter


def test_windows_cover_everything_with_full_crops() -> None:
    assert window_starts(10, 4, 3) == [0, 3, 6]
    assert window_starts(11, 4, 3) == [0, 3, 6, 7]
    assert window_starts(3, 4, 3) == window_starts(4, 4, 3) == [0]
    for length in range(5, 40):
        starts = window_starts(length, 5, 3)
        assert sorted({p for start in starts for p in range(start, start + 5)}) == list(range(length))


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

    found = SegmentationInference(window="slide", crop=4, stride=3)._slide(
        Position(), torch.zeros(1, 3, 4, 7)
    )
    assert found[0, 0, 0].tolist() == [0, 1, 2, (3 + 0) / 2, 1, 2, 3]


def test_flips_and_scales_are_averaged_as_probabilities() -> None:
    image = torch.rand(1, 3, 12, 16) * 3
    whole = SegmentationInference()(Painter(), image, (12, 16))
    flipped = SegmentationInference(flip=True)(Painter(), image, (12, 16))
    assert torch.allclose(flipped, whole, atol=1e-5)  # a pixel's own colour has no direction
    found = SegmentationInference(scales=(0.5, 1.0))(Painter(), image, (12, 16))
    half = nn.functional.interpolate(image, (6, 8), mode="bilinear")
    logits = nn.functional.interpolate(Painter()(half), (12, 16), mode="bilinear")
    assert torch.allclose(found.exp(), (logits.softmax(1) + whole.exp()) / 2, atol=1e-6)


@pytest.mark.parametrize(
    "options", [{"stride": 0}, {"crop": 8, "stride": 9}, {"scales": ()}, {"scales": (0.0,)}]
)
def test_bad_options_are_one_line(options: dict[str, object]) -> None:
    with pytest.raises(ValueError) as caught:
        SegmentationInference(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
