"""Kept maps in a backbone's place: crops, padding, several records, any batch."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch.nn.functional import pad

from mscsa.frozen.reading import KeptMaps, address
from mscsa.frozen.store import MapStore, write_store
from tests.frozen.test_store import read, samples


def kept(folder: Path) -> KeptMaps:
    write_store(folder, samples(), read)
    return KeptMaps(MapStore(folder), {1: 4, 2: 8})


def test_a_whole_record(tmp_path: Path) -> None:
    maps = kept(tmp_path)(address(0, 0, 0, (32, 64))[None], [1, 2])
    for found, expected in zip(maps, read(samples()[0][0][None]), strict=True):
        assert torch.equal(found, expected.half().float())


def test_crops_of_several_records_in_the_order_asked_for(tmp_path: Path) -> None:
    images = torch.stack([address(1, 16, 8, (16, 24)), address(0, 8, 32, (16, 24))])
    coarse, fine = kept(tmp_path)(images, [2, 1])
    for row, (record, top, left) in enumerate([(1, 16, 8), (0, 8, 32)]):
        whole = [x[0].half().float() for x in read(samples()[record][0][None])]
        assert torch.equal(fine[row], whole[0][:, top // 4 :, left // 4 :][:, :4, :6])
        assert torch.equal(coarse[row], whole[1][:, top // 8 :, left // 8 :][:, :2, :3])


def test_beyond_the_record_there_is_nothing(tmp_path: Path) -> None:
    """As for images that are padded on the right and below."""
    image = pad(address(2, 0, 0, (32, 32)), (0, 32, 0, 0))[None]
    (fine,) = kept(tmp_path)(image, [1])
    assert fine.shape == (1, 3, 8, 16)
    assert torch.equal(fine[0, :, :, :8], read(samples()[2][0][None])[0][0].half().float())
    assert not fine[..., 8:].any()


def test_the_copy_of_a_model_reads_the_same_files(tmp_path: Path) -> None:
    maps = kept(tmp_path)
    assert copy.deepcopy(maps) is maps


def test_maps_have_the_precision_of_the_images(tmp_path: Path) -> None:
    (fine,) = kept(tmp_path)(address(0, 0, 0, (32, 64))[None].double(), [1])
    assert fine.dtype == torch.float64
    assert fine.is_contiguous(memory_format=torch.channels_last)
