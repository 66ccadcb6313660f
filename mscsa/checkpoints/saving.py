"""Writing weights: safetensors, whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save as serialize
from torch import Tensor, nn

from mscsa.checkpoints.checksum import with_checksum
from mscsa.checkpoints.configurations import with_configurations
from mscsa.checkpoints.parts import plain_key, unwrapped
from mscsa.errors import UserError
from mscsa.files import write_whole


def save_weights(
    model: nn.Module | Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    """Write weights as safetensors, with their checksum and a model's configuration of its neck.

    The file appears whole or not at all.

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
    # Copies: safetensors refuses tensors that share memory, such as a tied weight.
    try:
        tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
        content = serialize(tensors, metadata=with_checksum(tensors, said))
    except (SafetensorError, RuntimeError) as error:  # sparse and quantised tensors have no layout to write
        raise UserError(f"cannot write {path}: {error}; give tensors of usual types") from error
    # Not safetensors' `save_file`: it makes a file that nobody else may read.
    write_whole(path, lambda file: file.write(content))
