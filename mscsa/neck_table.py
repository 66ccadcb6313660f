"""All necks: what mixes the levels of a backbone's pyramid, each under the signature of `MSCSANeck`.

Torch-free until a neck is loaded, and at the bottom of the import order: recipes and the command line can
read it. To add a neck, write its file and add its row.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from mscsa.errors import unknown_name

MSCSA_NECK = "mscsa"
"""MSCSA's name in the table."""


@dataclass(frozen=True, kw_only=True)
class NeckEntry:
    """A neck in the table."""

    title: str
    """What a reader is shown."""
    paper: str
    """Where it is from."""
    module: str
    """Its file, whose `KIND` says all else."""
    keeps_channels: bool = False
    """Whether its maps have the stages' own channels; else all have `channels` of its configuration."""

    def load(self) -> Any:
        """Import the neck: its `mscsa.necks.neck.NeckKind`."""
        return importlib.import_module(self.module).KIND


NECKS: dict[str, NeckEntry] = {
    MSCSA_NECK: NeckEntry(
        title="MSCSA",
        paper="Shang et al., 2023",
        module="mscsa.necks.mscsa",
        keeps_channels=True,
    ),
    "fpn": NeckEntry(title="FPN", paper="Lin et al., CVPR 2017", module="mscsa.necks.fpn"),
    "pafpn": NeckEntry(title="PAFPN", paper="Liu et al., CVPR 2018", module="mscsa.necks.pafpn"),
    "bifpn": NeckEntry(title="BiFPN", paper="Tan et al., CVPR 2020", module="mscsa.necks.bifpn"),
    "topformer": NeckEntry(
        title="TopFormer", paper="Zhang et al., CVPR 2022", module="mscsa.necks.topformer"
    ),
}
"""Name -> neck."""

OTHER_NECKS = tuple(name for name in NECKS if name != MSCSA_NECK)
"""Necks that MSCSA is compared with."""


def find_neck(name: str) -> NeckEntry:
    """Look a neck up.

    Raises:
        UserError: If there is none of this name; names the nearest.
    """
    if not isinstance(name, str) or name not in NECKS:
        raise unknown_name("no neck is called", name, NECKS)
    return NECKS[name]
