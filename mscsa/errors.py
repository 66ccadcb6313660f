"""The one exception for bad input that a person can put right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class UserError(ValueError):
    """Bad input found at the boundary: a file, a data set, a configuration, a checkpoint.

    The message is one line: what was given, what is allowed, what to do. The command line prints it
    and exits with code 2.
    """


class UnreadableImage(UserError):
    """An image file that cannot be used: a run may be told to go on without it (`data.max_bad`)."""


class UnknownKeyword(UserError, TypeError):
    """A keyword that a function does not know: bad input, and the TypeError that Python's callers expect."""


def needs_extra(what: str, extra: str) -> UserError:
    """Make the error for a package that is not installed: it says which extra of ours brings it.

    Args:
        what: What needs which package.
        extra: As in `pyproject.toml`.
    """
    return UserError(f"{what}; run: pip install 'mscsa[{extra}]'")  # in quotes: zsh expands the bracket


def unknown_name(lacking: str, given: Any, allowed: Iterable[str], *, all_names: str = "") -> UserError:
    """Make the error for a name that is none of those allowed: it names the nearest, or else all.

    >>> unknown_name("no head is called", "mask_rcn", ["mask_rcnn", "retinanet"])
    UserError("no head is called 'mask_rcn': did you mean mask_rcnn?")

    Args:
        lacking: What is lacking, up to the name: "no head is called", "retinanet has no option".
        given: The name, or what was given for one.
        allowed: All right names.
        all_names: Where they are told, in place of a list that would be too long for one line.
    """
    # Its package brings numpy along, which recipes and the command line do without.
    from mscsa_runtime.errors import nearest

    return UserError(f"{lacking} {given!r}: {nearest(given, allowed, all_names=all_names)}")
