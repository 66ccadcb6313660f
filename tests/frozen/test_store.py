"""Maps on disk: what was written is read, and what cannot be kept is said."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mscsa.errors import UserError
from mscsa.frozen.store import INDEX, LABELS, MAPS, MapStore, write_store

SIZES = [(32, 64), (64, 32), (32, 32)]


def samples() -> list[tuple[Tensor, Tensor]]:
    """Images of several sizes, each with labels of half its size."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.rand(3, *size, generator=generator),
            torch.randint(0, 256, (size[0] // 2, size[1] // 2), generator=generator),
        )
        for size in SIZES
    ]


def read(image: Tensor) -> list[Tensor]:
    """Two levels of 3 channels, as a backbone of strides 4 and 8."""
    return [torch.nn.functional.avg_pool2d(image, stride) for stride in (4, 8)]


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write_store(tmp_path, samples(), read)
    store = MapStore(tmp_path)
    assert len(store) == 3 and store.sizes == SIZES
    for record, (pixels, labels) in enumerate(samples()):
        for level, expected in enumerate(read(pixels[None])):
            found = torch.from_numpy(store.map_of(record, level).copy())
            assert torch.equal(found, expected[0].half())
        assert torch.equal(torch.from_numpy(store.labels_of(record).copy()), labels.to(torch.uint8))


def test_records_without_labels(tmp_path: Path) -> None:
    write_store(tmp_path, [(pixels, torch.zeros(0, 0)) for pixels, _ in samples()], read)
    store = MapStore(tmp_path)
    assert store.labels_of(2).shape == (0, 0)
    assert torch.equal(torch.from_numpy(store.map_of(1, 0).copy()), read(samples()[1][0][None])[0][0].half())


def test_it_is_opened_again_in_another_process(tmp_path: Path) -> None:
    write_store(tmp_path, samples(), read)
    sent = pickle.dumps(MapStore(tmp_path))
    assert len(sent) < 1000  # a path, not the maps
    assert pickle.loads(sent).map_of(2, 1).shape == (3, 4, 4)


def test_maps_beyond_half_precision_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="do not fit half precision .largest value 1e.06"):
        write_store(tmp_path, samples(), lambda image: [torch.full((1, 3, 8, 8), 1e6)])


@pytest.mark.parametrize("left", [0, 0.9])
@pytest.mark.parametrize("damaged", [INDEX, MAPS, LABELS])
def test_a_damaged_folder_is_one_line(tmp_path: Path, damaged: str, left: float) -> None:
    write_store(tmp_path, samples(), read)
    content = (tmp_path / damaged).read_bytes()
    (tmp_path / damaged).write_bytes(content[: int(left * len(content))])
    with pytest.raises(UserError, match="holds no maps that can be read .*: delete it"):
        MapStore(tmp_path)
