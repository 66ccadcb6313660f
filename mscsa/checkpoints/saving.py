"""Writing weights: safetensors, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save as serialize
from torch import Tensor, nn

from mscsa.checkpoints.checksum import with_checksum
from mscsa.checkpoints.configurations import with_configurations
from mscsa.checkpoints.parts import is_share, plain_key, unwrapped
from mscsa.errors import UserError
from mscsa.files import write_whole


def save_weights(
    model: nn.Module | Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write weights as safetensors, with their checksum and a model's configuration of its neck.

    The file appears whole or not at all. Where processes share the model (`fully_shard`), all of them call
    this, and the first writes.

    Args:
        model: A model, compiled or wrapped for several processes or not; or a state dict.
        path: A .safetensors file.
        metadata: What the file is to say of itself.
    Raises:
        UserError: If the name has another ending, the folder cannot be written to, the disk is full, or a
            value has no data.
    """
    if Path(path).suffix != ".safetensors":
        raise UserError(f"{path} given for weights, which are written as safetensors: end it in .safetensors")
    said = dict(metadata or {})
    if isinstance(model, nn.Module):
        model = unwrapped(model)
        said = with_configurations(model, said)
    state = model.state_dict() if isinstance(model, nn.Module) else model
    state = {plain_key(key): value for key, value in state.items()}
    without = [key for key, value in state.items() if value.is_meta]
    if without:
        raise UserError(f"{without[0]} is on the meta device and has no values: build the model on the CPU")
    if any(is_share(value) for value in state.values()):
        state = _gathered(state)
        if torch.distributed.get_rank():
            return
    # Copies: safetensors refuses tensors that share memory, such as a tied weight.
    try:
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
        content = serialize(tensors, metadata=with_checksum(tensors, said))
    except (SafetensorError, RuntimeError) as error:  # sparse and quantised tensors have no layout to write
        raise UserError(f"cannot write {path}: {error}; give tensors of usual types") from error
    # Not safetensors' `save_file`: it makes a file that nobody else may read.
    write_whole(path, lambda file: file.write(content))


def _gathered(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """Gather tensors that are cut up, on the CPU, all processes together; nothing stays in but the first."""
    is_first, found = torch.distributed.get_rank() == 0, {}
    for key, value in state.items():
        whole = value.full_tensor() if is_share(value) else value
        if is_first:
            found[key] = whole.cpu()
    return found
