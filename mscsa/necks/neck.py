"""What every neck is: a list of maps in, a list of maps out, and a cost in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from torch import Tensor, nn

from mscsa.attention.config import read_config, whole_numbers
from mscsa.attention.fusion import asked_levels
from mscsa.attention.module import check_maps, check_pyramid, takes_batch_statistics
from mscsa.attention.pyramid import MeasuredPyramid
from mscsa.backbones.timm_contract import check_batch_values
from mscsa.necks.config import NeckConfig

ConfigT = TypeVar("ConfigT")


class Neck(nn.Module, ABC):
    """A pyramid in, maps of one width out: the base of the necks here, under `MSCSANeck`'s signature.

    A neck gives its `config_type` and `mix`, and builds its layers after this constructor. It builds only
    those that the levels asked for depend on, and names those of a level by the level's index, so that
    the weights of a neck of all levels fit one of some. `PyTorchModelHubMixin` cannot hold one: it keeps
    the constructor's `channels` and the configuration's under one name.
    """

    config_type: ClassVar[type[NeckConfig]]
    """What reads `config`."""
    config: NeckConfig

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: NeckConfig | Mapping[str, Any] | None = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> None:
        """Build for a pyramid of two or more stages, finest first.

        Args:
            channels: C_i of each stage.
            strides: Stride of each stage in input pixels.
            config: Configuration, or its fields by name; its defaults if None.
            out_levels: Stages to give back, by index; all if None.
        Raises:
            ValueError: If there are fewer than two stages, the lengths differ, a channel count or stride
                is no whole number >= 1, the strides are not ascending or all equal, `config` is not a
                configuration, or `out_levels` names a stage that is not there.
        """
        super().__init__()
        self.config = read_config(self.config_type, config)
        self.channels = whole_numbers("channels", channels)
        self.strides = whole_numbers("strides", strides)
        check_pyramid(self.channels, self.strides)
        self.out_levels = asked_levels(out_levels, len(self.channels))

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Channels of each level given back, in their order."""
        return (self.config.channels,) * len(self.out_levels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Mix the levels.

        Args:
            maps: One map per stage, (B, C_i, H_i, W_i), finest first.
        Returns:
            One map (B, `config.channels`, H_i, W_i) for each of `out_levels`.
        Raises:
            ValueError: If the maps' number, channels or order do not fit; in training also if the coarsest
                map has one value per channel, of which batch norms can learn nothing.
        """
        check_maps(maps, self.channels)
        check_batch_values(maps[-1], 1, takes_batch_statistics(self))
        return self.mix(maps)

    @abstractmethod
    def mix(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Do what `forward` says, with maps that fit."""


class NeckModule(Protocol):
    """What is called to build a neck: the class, or anything of its signature."""

    def __call__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        config: Any = None,
        *,
        out_levels: Sequence[int] | None = None,
    ) -> nn.Module:
        """Build for a pyramid."""


def _as_it_is(_pyramid: MeasuredPyramid, _budget: float, config: ConfigT) -> ConfigT:
    return config


@dataclass(frozen=True, kw_only=True)
class NeckKind(Generic[ConfigT]):
    """All that is to be known of a neck; each stands in the neck's own file."""

    build: NeckModule
    """Its class."""
    config: type[ConfigT]
    """Its configuration, a frozen dataclass."""
    macs: Callable[[MeasuredPyramid, ConfigT], int]
    """Multiply-adds for one image."""
    fit: Callable[[MeasuredPyramid, float, ConfigT, Sequence[str]], ConfigT]
    """Configuration for a budget of multiply-adds, from one to start at; the fields named stay."""
    settle: Callable[[MeasuredPyramid, float, ConfigT], ConfigT] = _as_it_is
    """What `fit` chooses for a budget before the width, from a configuration to start at: nothing, as a
    rule."""
