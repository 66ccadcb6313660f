"""Pasting objects: pixels, masks and boxes go together, and what is covered is no longer there."""

from __future__ import annotations

import torch
from torch import Tensor

from mscsa.data.transforms.copy_paste import Drawn, draw_with_pasted, paste_objects
from mscsa.data.transforms.detection import boxes_around
from mscsa.errors import UserError


def drawn(height: int, width: int, boxes: list[list[int]], first: int = 1) -> Drawn:
    """Rectangles of the brightness of their label on black."""
    pixels, masks = torch.zeros(3, height, width), torch.zeros(len(boxes), height, width, dtype=torch.uint8)
    labels = torch.arange(first, first + len(boxes))
    for mask, label, (x1, y1, x2, y2) in zip(masks, labels, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
        pixels[:, y1:y2, x1:x2] = label / 10
    objects = {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), "labels": labels}
    return pixels, {**objects, "masks": masks}


def check(sample: Drawn) -> Tensor:
    """Masks lie on pixels of their label, do not overlap, and fill their boxes."""
    pixels, objects = sample
    assert int(objects["masks"].sum(dim=0).max()) <= 1
    for label, box, mask in zip(objects["labels"], objects["boxes"], objects["masks"], strict=True):
        assert mask.any() and torch.allclose(pixels[:, mask.bool()], label / 10)
        assert torch.equal(boxes_around(mask[None])[0], box)
    return objects["labels"]


OWN = [[2, 2, 12, 10], [20, 5, 24, 9]]
OTHER = [[0, 0, 14, 6], [18, 4, 26, 12], [5, 8, 9, 15]]


def test_pixels_masks_and_boxes_go_together_at_any_sizes() -> None:
    torch.manual_seed(0)
    counts, places = set(), set()
    for i in range(120):
        own = drawn(20, 30, OWN)
        other = drawn(*[(20, 30), (16, 40), (40, 26), (18, 28)][i % 4], OTHER, first=5)
        labels = check(paste_objects(own, other))
        counts.add(len(labels))
        places |= {tuple(box) for box in paste_objects(own, other)[1]["boxes"].int().tolist()}
        assert torch.equal(own[1]["boxes"], drawn(20, 30, OWN)[1]["boxes"])  # what is given stays
    # From an object that is covered wholly to all five.
    assert {2, 3, 4, 5} <= counts and len(places) > 30


def test_what_is_covered_wholly_is_gone_and_what_is_not_keeps_its_box() -> None:
    torch.manual_seed(0)
    seen = set()
    for _ in range(40):
        own = drawn(20, 30, [[4, 4, 8, 8], [20, 12, 25, 15]])
        _, objects = paste_objects(own, drawn(20, 30, [[2, 2, 12, 12]], first=7))
        seen.add(tuple(objects["labels"].tolist()))
    assert seen == {(1, 2), (2, 7)}


def test_nothing_to_paste_and_nothing_to_paste_into() -> None:
    torch.manual_seed(0)
    empty = drawn(20, 30, [])
    assert len(check(paste_objects(drawn(20, 30, OWN), empty))) == 2
    assert {len(check(paste_objects(empty, drawn(20, 30, OWN)))) for _ in range(40)} == {0, 1, 2}


def test_another_image_comes_by_chance_and_an_unreadable_one_gives_nothing() -> None:
    asked: list[int] = []

    def draw(index: int) -> Drawn:
        asked.append(index)
        if index == 3:
            raise UserError("image 3 is damaged")
        return drawn(20, 30, OWN[:1])

    torch.manual_seed(0)
    for _ in range(300):
        before = len(asked)
        check(draw_with_pasted(draw, 0, 4, 0.5))
        assert asked[before] == 0
    assert 0.4 * 300 < len(asked) - 300 < 0.6 * 300 and set(asked) == {0, 1, 2, 3}
    asked.clear()
    draw_with_pasted(draw, 0, 4, 0.0)
    assert asked == [0]
