"""Predictions of the arms side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mscsa.compare import examples
from mscsa.compare.examples import NUM_EXAMPLES, draw_examples
from mscsa.data.contract import IGNORED


class Labels:
    """Images of 16x16 px whose labels are known to `Knows`: the class is in the first channel."""

    def __init__(self, count: int) -> None:
        self.asked: list[int] = []
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, int]:
        self.asked.append(index)
        labels = torch.arange(256).reshape(16, 16) // 64
        pixels = labels.float().expand(3, 16, 16)
        counted = labels.where(labels != 3, IGNORED)
        return pixels, counted, index


class Knows(nn.Module):
    """Right on the classes below `limit`, class 0 elsewhere."""

    pretrained_cfg = {"mean": (0.5,) * 3, "std": (0.5,) * 3}

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = nn.Parameter(torch.tensor(float(limit)))

    def forward(self, images: Tensor) -> Tensor:
        classes = images[:, 0].long()
        said = classes.where(classes < self.limit, 0)
        return nn.functional.one_hot(said, 4).permute(0, 3, 1, 2).float()


def test_images_are_spread_over_the_set_and_shares_are_of_what_counts(tmp_path: Path, monkeypatch) -> None:
    drawn = []
    real = examples.save_figure
    monkeypatch.setattr(
        examples, "save_figure", lambda figure, path, dpi: (drawn.append(figure), real(figure, path, dpi=dpi))
    )
    dataset = Labels(101)
    draw_examples({"all": Knows(4), "some": Knows(1)}, dataset, tmp_path / "a.png")  # type: ignore[arg-type]
    assert dataset.asked == [0, 20, 40, 60, 80, 100] and len(dataset.asked) == NUM_EXAMPLES
    shares = [axes.get_xlabel() for axes in drawn[0].axes]
    assert shares[:4] == ["", "", "100 % of pixels right", "33 % of pixels right"]
    assert [axes.get_title() for axes in drawn[0].axes[:4]] == ["image", "labels", "all", "some"]
    with Image.open(tmp_path / "a.png") as picture:
        assert np.asarray(picture).std() > 0


def test_of_a_small_set_each_image_is_drawn_once(tmp_path: Path) -> None:
    dataset = Labels(2)
    draw_examples({"all": Knows(4)}, dataset, tmp_path / "a.png")  # type: ignore[arg-type]
    assert dataset.asked == [0, 1]
