"""Where an image's pixels lie in a sample, against doing it to the pixels."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mscsa.data.transforms.detection import boxes_around
from mscsa.data.transforms.frame import Frame


def test_a_frame_follows_flips_crops_and_sizes() -> None:
    frame = Frame.whole((60, 80)).mirrored().resized((120, 160)).cropped(20, 30, 50, 100).resized((25, 50))
    assert frame.size == (25, 50) and frame.own_size == (60, 80) and frame.is_cut
    # x: 80 - x, times 2, minus 30, half of it; y: times 2, minus 20, half of it.
    x1, y1, x2, y2 = 20.0, 15.0, 44.0, 31.0
    expected = [(160 - 2 * x2 - 30) / 2, (2 * y1 - 20) / 2, (160 - 2 * x1 - 30) / 2, (2 * y2 - 20) / 2]
    assert frame.boxes(torch.tensor([[x1, y1, x2, y2]]))[0].tolist() == pytest.approx(expected)
    assert frame.outline([x2, y1, x1, y2]) == pytest.approx(expected)


def test_masks_are_cut_and_mirrored_pixel_by_pixel() -> None:
    mask = np.random.default_rng(0).random((2, 12, 10)) < 0.5
    found = Frame.whole((12, 10)).mirrored().cropped(2, 1, 8, 6).sampled(mask)
    assert np.array_equal(found, mask[:, :, ::-1][:, 2:10, 1:7])
    found = Frame.whole((12, 10)).resized((36, 20)).sampled(mask)
    assert np.array_equal(found, mask.repeat(3, axis=1).repeat(2, axis=2))


@pytest.mark.parametrize("side", [3, 4, 5, 6, 8, 12, 16, 40])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_masks_are_moved_to_no_side(side: int, is_mirrored: bool) -> None:
    """What lies in the middle stays there, at sizes whose pixels meet those of the image too."""
    mask = np.zeros((24, 24), bool)
    mask[6:18, 8:16] = True
    frame = Frame.whole((24, 24)).mirrored() if is_mirrored else Frame.whole((24, 24))
    found = frame.resized((side, side)).sampled(mask)
    assert found.any() and not found.all()
    assert np.array_equal(found, found[::-1]) and np.array_equal(found, found[:, ::-1])


def looked_up(frame: Frame, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Look up four points of each pixel of the sample, one by one: two of them make it the object's."""
    found = np.zeros(frame.size, bool)
    quarters = (0.25 - 1e-6, 0.75 + 1e-6)
    for row, column in np.ndindex(frame.size):
        count = 0
        for down, right in product(quarters, quarters):
            y = int((row + down - frame.shift[1]) / frame.scale[1] // 1)
            x = int((column + right - frame.shift[0]) / frame.scale[0] // 1)
            count += mask[min(max(y, 0), mask.shape[0] - 1), min(max(x, 0), mask.shape[1] - 1)]
        found[row, column] = count >= 2
    return found


@pytest.mark.parametrize("place", [None, (0, 0), (201, 250), (391, 493), (120, 493)])
@pytest.mark.parametrize("is_mirrored", [False, True])
def test_a_small_object_in_a_large_image_is_found_as_by_looking_everywhere(
    place: tuple[int, int] | None, is_mirrored: bool
) -> None:
    """Only where the object lies is looked up; an empty mask, and one with a hole, at the borders too."""
    mask = np.zeros((400, 500), bool)
    if place is not None:
        row, column = place
        mask[row : row + 9, column : column + 7] = True
        mask[row + 2 : row + 4, column + 1 : column + 3] = False
    whole = Frame.whole((400, 500)).mirrored() if is_mirrored else Frame.whole((400, 500))
    frames = (
        whole.resized((61, 83)),
        whole.resized((300, 410)).cropped(140, 180, 50, 40),
        whole.cropped(330, 440, 70, 60),
        whole.resized((1600, 2000)).cropped(0, 0, 50, 40),
    )
    for frame in frames:
        found = frame.sampled(np.stack([mask, mask[::-1]]))
        assert np.array_equal(found[0], looked_up(frame, mask))
        assert np.array_equal(found[1], looked_up(frame, mask[::-1]))
        assert np.array_equal(frame.sampled(mask), found[0])
    assert frames[0].sampled(mask).any() == (place is not None)


def test_turns_and_flips_are_those_of_the_pixels() -> None:
    """A frame says of boxes, outlines and masks what torch does to pixels."""
    mask = np.random.default_rng(0).random((2, 12, 10)) < 0.5
    box = torch.tensor([[2.0, 3.0, 7.0, 11.0]])
    whole = torch.zeros(1, 12, 10, dtype=torch.uint8)
    whole[:, 3:11, 2:7] = 1
    for turns, is_flipped, is_mirrored in product(range(4), (False, True), (False, True)):
        frame, pixels, drawn = Frame.whole((12, 10)), torch.from_numpy(mask), whole
        for _ in range(turns):
            frame, pixels, drawn = frame.turned(), pixels.rot90(1, (-2, -1)), drawn.rot90(1, (-2, -1))
        if is_flipped:
            frame, pixels, drawn = frame.flipped(), pixels.flip(-2), drawn.flip(-2)
        if is_mirrored:
            frame, pixels, drawn = frame.mirrored(), pixels.flip(-1), drawn.flip(-1)
        assert frame.size == tuple(pixels.shape[-2:])
        assert np.array_equal(frame.sampled(mask), pixels.numpy())
        assert torch.equal(frame.boxes(box), boxes_around(drawn))
        points = np.array(frame.outline([2, 3, 7, 3, 7, 11, 2, 11])).reshape(-1, 2)
        x1, y1, x2, y2 = boxes_around(drawn)[0].tolist()
        assert {tuple(point) for point in points.tolist()} == {(x1, y1), (x2, y1), (x2, y2), (x1, y2)}
        # And again after what stretches and cuts.
        cut = frame.resized((24, 36)).cropped(3, 5, 17, 19)
        assert np.array_equal(cut.sampled(mask), frame.resized((24, 36)).sampled(mask)[:, 3:20, 5:24])


def test_a_frame_knows_whether_it_is_a_mirror_image() -> None:
    frame = Frame.whole((40, 60))
    assert not frame.is_mirrored and frame.mirrored().is_mirrored
    assert not frame.mirrored().resized((20, 30)).mirrored().is_mirrored
    assert frame.flipped().is_mirrored and not frame.flipped().mirrored().is_mirrored
    assert not frame.turned().is_mirrored and frame.turned().flipped().is_mirrored
