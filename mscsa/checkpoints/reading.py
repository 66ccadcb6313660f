"""Reading weights from files of any training code; nothing of a file is ever run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError, safe_open
from torch import Tensor

from mscsa.checkpoints.checksum import without_checksum
from mscsa.checkpoints.parts import plain_key
from mscsa.checkpoints.pickles import CodeFound, entries_of, read_pickle, tensor_of
from mscsa.errors import UserError
from mscsa.run_files import BEST

AVERAGED = (
    *("state_dict_ema", "model_ema", "ema_state_dict", "ema_model", "ema", "params_ema"),
    *("model_ema_state_dict", "teacher"),
)
"""Keys under which training code keeps averaged weights."""

RAW = (
    *("state_dict", "model_state_dict", "model_state", "model", "module", "net", "network"),
    *("net_state_dict", "params", "weights", "student"),
)
"""Keys under which it keeps the weights themselves."""

_AVERAGED_MODELS = "n_averaged"
"""What torch's `AveragedModel` counts, beside the `module.` that it averages."""

_MOST_NESTED = 4
"""Wrappers within each other that are looked into."""


class Weights(NamedTuple):
    """What a file holds."""

    state: dict[str, Tensor]
    """Tensors by key, on the CPU."""
    metadata: dict[str, str]
    """What a safetensors file says of itself. Of a pickle: under which key the weights were (`taken`) and
    under which there are others (`left`), where there are such keys."""


def read_state_dict(path: str | Path) -> Weights:
    """Read the weights in a file without running any code from it.

    Weights are found under the keys that training code uses (`AVERAGED` first, then `RAW`), in each other
    too, and in whole pickled modules. What else a pickle holds (arguments, paths, optimiser) is passed over.
    The `module.` of data-parallel training and what torch.compile and FSDP put into keys are taken away.

    Args:
        path: A .safetensors file, or a pickle (.pth, .ckpt, .bin, .pkl, ...) of tensors or numpy arrays.
    Raises:
        UserError: If the file is missing, a folder, a pointer or page in its place, or damaged, wants to run
            code, or holds no weights (names what it holds).
    """
    path = Path(path)
    _refuse_what_is_no_file_of_weights(path)
    if path.suffix == ".safetensors" or _begins_as_safetensors(path):
        state, metadata = _read_safetensors(path)
        return Weights(_plain_keys(state), metadata)
    try:
        return weights_in(read_pickle(path), f"checkpoint {path}")
    except UserError:
        raise
    except CodeFound as error:
        raise UserError(
            f"checkpoint {path} is refused: it holds {error}, which could run code; where you trust the "
            "file, save the model's state_dict() alone, or convert it to .safetensors"
        ) from error
    except Exception as error:  # damaged bytes fail in every way, IndexError for one
        raise UserError(
            f"checkpoint {path} cannot be read: it is truncated or no checkpoint; copy it again"
        ) from error


def weights_in(content: Any, name: str) -> Weights:
    """Find the weights in what a file or a caller gives.

    Args:
        content: State dict, or dicts around one.
        name: What to call it in the message.
    Raises:
        UserError: If there are none (names what there is).
    """
    found = _find(content, "", _MOST_NESTED)
    if not found:
        entries = entries_of(content)
        if entries is None:
            top = f"an object of type {getattr(content, 'path', '') or type(content).__name__}"
        else:
            top = ", ".join(map(str, list(entries)[:8])) or "nothing"
        raise UserError(
            f"{name} holds no weights but {top}: a state dict is expected, or one under {', '.join(RAW[:4])} "
            "and the like"
        )
    (place, state), *others = found
    metadata = {"taken": place} if place else {}
    if others:
        metadata["left"] = ", ".join(other for other, _ in others)
    tensors = {str(key): tensor for key, value in state.items() if (tensor := tensor_of(value)) is not None}
    return Weights(_plain_keys(tensors), metadata)


def _refuse_what_is_no_file_of_weights(path: Path) -> None:
    """Name what is often found where weights were expected: nothing, a folder, and what stands for a file."""
    if path.is_dir():
        best = path / BEST
        one = f"as {best}" if best.is_file() else "a .safetensors or .pth one"
        raise UserError(f"checkpoint {path} is a folder: give a file of it, {one}")
    if not path.is_file():
        raise UserError(f"checkpoint {path} is not there: give the path of a .safetensors or .pth file")
    try:
        with path.open("rb") as file:
            start = file.read(200).lstrip().lower()
    except OSError:
        return  # said where it is read
    if start.startswith(b"version https://git-lfs."):
        raise UserError(f"checkpoint {path} is a Git LFS pointer, not the file: run git lfs pull")
    if start.startswith((b"<!doctype html", b"<html")):
        raise UserError(f"checkpoint {path} is a web page, not a file of weights: download it again")


def _find(content: Any, place: str, depth: int) -> list[tuple[str, Mapping[Any, Any]]]:
    """List the state dicts in nested dicts and where they are, the averaged ones first."""
    entries = entries_of(content)
    if not entries or not depth:
        return []
    found = []
    for key in (*AVERAGED, *RAW):
        if key in entries:
            found += _find(entries[key], f"{place}.{key}" if place else key, depth - 1)
    if found:
        return found
    return [(place, entries)] if any(_is_tensor(value) for value in entries.values()) else []


def _is_tensor(value: Any) -> bool:
    """Whether a value is a tensor, without reading its values if it is not."""
    return tensor_of(value) is not None


def _plain_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take out of the keys what wraps the model in training."""
    plain = {plain_key(key): value for key, value in state.items()}
    if all(key.startswith("module.") or key == _AVERAGED_MODELS for key in plain):
        plain.pop(_AVERAGED_MODELS, None)
    while plain and all(key.startswith("module.") for key in plain):
        plain = {key.removeprefix("module."): value for key, value in plain.items()}
    return plain


def _begins_as_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever it is called: a length, and the JSON of a header."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError:
        return False  # said where it is read


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read tensors and metadata, and compare them with the checksum, where there is one."""
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            metadata = dict(file.metadata() or {})
    # On damaged bytes torch and the JSON of the header raise what they like.
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"checkpoint {path} cannot be read: {reason}; it is truncated or not safetensors"
        ) from error
    said = without_checksum(tensors, metadata)
    if said is None:
        raise UserError(
            f"checkpoint {path} is damaged: its content does not agree with its checksum; copy it again, or "
            "take another file of the run"
        )
    return tensors, said
