"""The grammar of model names: `BACKBONE[.TAG]` is timm's, `mscsa_` before it the same with MSCSA.

Torch-free and at the bottom of the import order: recipes and the command line read names too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mscsa.errors import UserError

MSCSA_PREFIX = "mscsa_"
"""Before a timm name: the same backbone with MSCSA."""

_TAKES_THE_PLACE_IN = {"coat_tiny": "coat_serial_tiny", "coat_small": "coat_serial_small"}
"""Model of the paper -> what is left of it where MSCSA takes the place of a part (CoaT's parallel blocks)."""

_WHOLE = {part: whole for whole, part in _TAKES_THE_PLACE_IN.items()}


@dataclass(frozen=True)
class ModelName:
    """A model's name, taken apart.

    >>> name = parse_model_name("mscsa_convnext_tiny.in12k_ft_in1k")
    >>> name.backbone, name.tag, name.has_mscsa
    ('convnext_tiny', 'in12k_ft_in1k', True)
    >>> parse_model_name("mscsa_coat_tiny").backbone
    'coat_serial_tiny'
    """

    baseline: str
    """timm's name of the model without MSCSA, untagged: what a comparison compares with."""
    tag: str
    """Which pretrained weights of the backbone, in timm's words; "" for its default ones."""
    has_mscsa: bool
    """Whether the name itself says that MSCSA is added."""

    @property
    def backbone(self) -> str:
        """What is built, untagged: `baseline`, or with MSCSA the part of it that MSCSA does not replace."""
        return _TAKES_THE_PLACE_IN.get(self.baseline, self.baseline) if self.has_mscsa else self.baseline

    @property
    def tagged_backbone(self) -> str:
        """`backbone` with the tag, as timm takes it."""
        return _tagged(self.backbone, self.tag)

    @property
    def without_mscsa(self) -> str:
        """The name of the same model without MSCSA, tag included."""
        return _tagged(self.baseline, self.tag)

    @property
    def with_mscsa(self) -> str:
        """The name of the same model with MSCSA, tag included."""
        return MSCSA_PREFIX + _tagged(_WHOLE.get(self.baseline, self.baseline), self.tag)

    def __str__(self) -> str:
        return self.with_mscsa if self.has_mscsa else self.without_mscsa


def parse_model_name(name: str) -> ModelName:
    """Take a model's name apart; whether timm knows the backbone is not asked.

    Names of other sources (`hf-hub:OWNER/NAME`, `local-dir:FOLDER`) are kept whole.

    Raises:
        UserError: If it is no text.
    """
    check_is_text(name)
    bare = name.removeprefix(MSCSA_PREFIX)
    baseline, tag = split_tag(bare)
    has_mscsa = bare != name
    return ModelName(_WHOLE.get(baseline, baseline) if has_mscsa else baseline, tag, has_mscsa)


def check_is_text(name: Any) -> None:
    """Refuse what is no name of a model at all.

    Raises:
        UserError: If it is no text.
    """
    if not isinstance(name, str):
        raise UserError(
            f"{name!r} given as the name of a model: give a timm name, such as 'resnet50', as text"
        )


def split_tag(name: str) -> tuple[str, str]:
    """Split timm's name of a model into the model and its tag, "" for none; of other sources it stays whole.

    >>> split_tag("convnext_tiny.in12k_ft_in1k")
    ('convnext_tiny', 'in12k_ft_in1k')
    """
    bare, _, tag = (name, "", "") if ":" in name else name.partition(".")
    return bare, tag


def both_arms(name: str) -> tuple[str, str]:
    """Give a model's name without MSCSA and with it, whichever of them is given.

    >>> both_arms("coat_tiny")
    ('coat_tiny', 'mscsa_coat_tiny')
    """
    parsed = parse_model_name(name)
    return parsed.without_mscsa, parsed.with_mscsa


def _tagged(name: str, tag: str) -> str:
    return f"{name}.{tag}" if tag else name
