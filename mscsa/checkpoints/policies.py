"""What a file must fill of a model."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

from mscsa.checkpoints.parts import BACKBONE, MSCSA
from mscsa.errors import UserError

PolicyName = Literal["exact", "new_head", "backbone"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """What must come from the file, and what may stay as built; a part is never filled in part."""

    required: Set[str] | None
    """Parts that the file must fill; None for all."""
    never_halved: Set[str] = frozenset()
    """Parts that must be filled if the file has anything of them. Others of another structure stay new."""
    new_classifier: bool
    """Whether the layers whose shape depends on the number of classes may stay new."""
    allows_more: bool = True
    """Whether the file may hold more than the model."""
    adapts_channels: bool = False
    """Whether a layer that reads images of other channels is made to fit."""

    def must_fill(self, part: str, is_there: bool) -> bool:
        """Say whether a part must be filled wholly.

        Args:
            part: Name of the part.
            is_there: Whether the file has anything of it.
        """
        return self.required is None or part in self.required or (part in self.never_halved and is_there)


POLICIES: dict[PolicyName, Policy] = {
    "exact": Policy(required=None, new_classifier=False, allows_more=False),
    "new_head": Policy(required=None, new_classifier=True),
    "backbone": Policy(required={BACKBONE}, never_halved={MSCSA}, new_classifier=True, adapts_channels=True),
}
"""`exact`: the same model. `new_head`: the same model, perhaps for other classes. `backbone`: a start; the
backbone must come from the file, MSCSA, fusion and head do where it has them, and a
first layer of other channels is adapted."""


def find_policy(name: PolicyName) -> Policy:
    """Look a policy up.

    Raises:
        UserError: If there is no such policy.
    """
    if not isinstance(name, str) or name not in POLICIES:
        raise UserError(f"policy={name!r} given: give one of {', '.join(POLICIES)}")
    return POLICIES[name]
