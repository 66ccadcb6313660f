"""Where published models are: a folder of this machine, or a repository of the hub."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from mscsa.errors import UserError

HUB = "hf-hub:"
"""Before the name of a repository, as timm writes it; all other words are folders."""


@dataclass(frozen=True)
class Repository:
    """A model's repository on the hub."""

    name: str
    """OWNER/NAME."""
    revision: str | None = None
    """Branch, tag or commit; the main branch if None."""

    def __str__(self) -> str:
        return HUB + (f"{self.name}@{self.revision}" if self.revision else self.name)


def parse_place(text: str) -> Path | Repository:
    """Read `hf-hub:OWNER/NAME[@REVISION]` as a repository and anything else as a folder.

    Raises:
        UserError: If the name of the repository is none.
    """
    if not text.startswith(HUB):
        return Path(text)
    name, _, revision = text.removeprefix(HUB).partition("@")
    try:
        validate_repo_id(name)
        if name.count("/") != 1:
            raise HFValidationError("OWNER/NAME is missing one of both")
    except HFValidationError as error:
        raise UserError(
            f"{text} names no repository: give {HUB}OWNER/NAME, of letters, digits, '-', '_' and '.'"
        ) from error
    return Repository(name, revision or None)
