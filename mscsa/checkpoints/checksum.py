"""A checksum of weights in their own file, so that a flipped bit is seen when they are read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

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
    found = hashlib.sha256()
    for key in sorted(metadata):
        found.update(f"{key}\0{metadata[key]}\0".encode())
    for name in sorted(tensors):
        value = tensors[name]
        found.update(f"{name}\0{value.dtype}\0{list(value.shape)}\0".encode())
        # Bytes, because numpy has no bfloat16; a scalar has one axis for it.
        found.update(value.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
