"""Saliency as files that say what they show."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mscsa
from mscsa.errors import UserError
from mscsa.pictures.output import OutputFolder
from mscsa.pictures.saliency_maps import write_saliency
from mscsa.pictures.saliency_model import SaliencyModel


@pytest.fixture(scope="module")
def small() -> SaliencyModel:
    torch.manual_seed(0)
    net = mscsa.create_model("resnet10t", pool_stride=8, budget=0.3).eval()
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    return SaliencyModel(name="small", model=net, size=(48, 64), mean=mean, std=std, is_trained=False)


def test_pictures_and_numbers_are_written(small: SaliencyModel, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        Image.new("RGB", (90, 70), "red").save(tmp_path / folder / "cat.png")
    paths = [str(tmp_path / "a/cat.png"), str(tmp_path / "none.png"), str(tmp_path / "b/cat.png")]
    written = list(write_saliency(small, paths, OutputFolder(tmp_path / "out", paths), [(10, 20)]))
    assert [each.error is None for each in written] == [True, False, True]
    assert "none.png: no such file" in str(written[1].error)
    assert len({file for each in written for file in each.files}) == 8  # equal names do not collide
    for file in written[0].files:
        if file.endswith(".png"):
            with Image.open(file) as picture:
                assert min(picture.size) > 300
    content = json.loads((tmp_path / "out/cat.json").read_text())
    assert [len(each["scales"]) for each in content["layers"]] == [3, 3]
    scale = content["layers"][0]["scales"][1]
    assert np.array(scale["attention_relative_to_uniform"]).shape == tuple(scale["keys"]) == (3, 4)


def test_a_folder_that_cannot_be_written_is_one_line(small: SaliencyModel, tmp_path: Path) -> None:
    Image.new("RGB", (90, 70)).save(tmp_path / "cat.png")
    (tmp_path / "file").write_text("")
    paths = [str(tmp_path / "cat.png")]
    with pytest.raises(UserError, match="cannot write") as caught:
        list(write_saliency(small, paths, OutputFolder(tmp_path / "file" / "out", paths)))
    assert "\n" not in str(caught.value)
