"""The pyramids that golden outputs were made on, and the reading of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

GOLDEN = Path(__file__).parent / "golden"
WIDTH = 8
"""Channels of all golden necks."""
_CHANNELS = (5, 6, 9, 8, 4)  # one of them as wide as the necks
_STRIDES = (4, 8, 16, 32, 64)


@dataclass(frozen=True)
class Case:
    """One pyramid and one neck."""

    levels: int
    image_size: tuple[int, int]
    depth: int = 1
    norm: str = "bn"

    @property
    def name(self) -> str:
        """What tells it from the others."""
        return f"{self.levels}_{self.image_size[0]}x{self.image_size[1]}_{self.depth}_{self.norm}"

    @property
    def channels(self) -> tuple[int, ...]:
        """C_i: the coarsest `levels`, so that a file stays small."""
        return _CHANNELS[-self.levels :]

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the levels in pixels."""
        return _STRIDES[-self.levels :]

    @property
    def shapes(self) -> list[tuple[int, int, int, int]]:
        """(1, C_i, H_i, W_i) of the maps, sizes rounded up as padded convolutions leave them."""
        height, width = self.image_size
        pairs = zip(self.channels, self.strides, strict=True)
        return [(1, c, -(-height // s), -(-width // s)) for c, s in pairs]


_SIZES = ((64, 128), (69, 99))
CASES: dict[str, list[Case]] = {
    "bifpn": [Case(levels, size, depth) for levels, depth in ((3, 2), (4, 3), (5, 2)) for size in _SIZES],
    "pafpn": [
        Case(levels, size, norm=norm)
        for levels, norm in ((3, "bn"), (4, "none"), (5, "bn"))
        for size in _SIZES
    ],
}


def load_case(neck: str, case: Case) -> tuple[dict[str, Tensor], list[Tensor], list[Tensor]]:
    """Give a case's weights by our names, its inputs and its outputs; float64 but for counters."""
    found: dict[str, dict[str, Any]] = {"weights": {}, "inputs": {}, "outputs": {}}
    with safe_open(GOLDEN / f"{neck}.safetensors", "pt") as file:
        for key in file.keys():  # noqa: SIM118
            name, _, rest = key.partition("/")
            if name == case.name:
                kind, _, tensor = rest.partition(".")
                value = file.get_tensor(key)
                found[kind][tensor] = value.double() if value.dtype == torch.float32 else value
    inputs, outputs = ([found[kind][str(i)] for i in range(case.levels)] for kind in ("inputs", "outputs"))
    return found["weights"], inputs, outputs
