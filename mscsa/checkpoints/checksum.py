"""Hashes of weights: of a file's, so that a flipped bit is seen when they are read, and of a model's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

_SHA256 = "sha256"
_MARK = "checked_by"
"""Entry that says that there is a checksum, for when a bit of the checksum's own name is flipped."""


def with_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Add the checksum to the metadata of a safetensors file."""
    said = {**metadata, _MARK: _SHA256}
    return {**said, _SHA256: checksum(tensors, said)}


def without_checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str] | None:
    """Take the checksum out of the metadata; None if it is wrong. Files of others have none."""
    said = dict(metadata)
    expected = said.pop(_SHA256, None)
    if (expected is not None or _MARK in said) and expected != checksum(tensors, said):
        return None
    said.pop(_MARK, None)
    return said


def checksum(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Hash names, types, shapes and values of tensors, and what is said beside them."""
    said = "".join(f"{key}\0{metadata[key]}\0" for key in sorted(metadata))
    return hash_tensors(
        sorted(tensors.items()), lambda name, x: f"{name}\0{x.dtype}\0{list(x.shape)}\0", first=said
    )


def hash_tensors(
    tensors: Iterable[tuple[str, Tensor]], say: Callable[[str, Tensor], str], *, first: str = ""
) -> str:
    """Hash tensors, wherever they lie.

    Args:
        tensors: With their names, in the order in which they are hashed.
        say: From a name and its tensor to what stands before the values: all else that counts.
        first: What stands before all of them.
    Returns:
        SHA-256, as 64 hexadecimal digits.
    """
    found = hashlib.sha256(first.encode())
    for name, value in tensors:
        found.update(say(name, value).encode())
        # Bytes, because numpy has no bfloat16; a scalar has one axis for it.
        found.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
