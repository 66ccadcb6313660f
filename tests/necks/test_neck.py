"""The base of the necks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mscsa.neck_table import OTHER_NECKS
from mscsa.necks.config import NeckConfig
from mscsa.necks.neck import Neck
from tests.necks.pyramids import maps_of, small_neck


class Same(Neck):
    """A neck that does nothing."""

    config_type = NeckConfig

    def mix(self, maps: list[Tensor]) -> list[Tensor]:  # type: ignore[override]
        return [maps[level] for level in self.out_levels]


def test_the_base_checks_and_the_neck_mixes() -> None:
    neck = Same([4, 4], [8, 16], {"channels": 4}, out_levels=[1])
    maps = [torch.rand(1, 4, 5, 3), torch.rand(1, 4, 3, 2)]
    assert neck(maps) == [maps[1]] and neck.out_channels == (4,)
    with pytest.raises(ValueError, match="1 maps of shapes"):
        neck(maps[:1])
    with pytest.raises(TypeError, match="abstract"):
        Neck([4, 4], [8, 16])  # type: ignore[abstract]


@pytest.mark.parametrize("name", OTHER_NECKS)
def test_one_value_per_channel_is_nothing_to_train_on(name: str) -> None:
    norm = {"norm": "bn"} if name == "fpn" else {}
    neck = small_neck(name, 2, **norm).train()
    maps = maps_of([(2, 2), (1, 1)], batch=1)
    with pytest.raises(ValueError, match="batch norm needs more than 1 value per channel when training"):
        neck(maps)
    assert [each.shape[2] for each in neck.eval()(maps)] == [2, 1]
    assert [each.shape[0] for each in neck.train()(maps_of([(2, 2), (1, 1)], batch=2))] == [2, 2]
