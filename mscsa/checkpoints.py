"""Reading and writing weights: safetensors first, never code from a file."""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialize
from torch import Tensor, nn

from mscsa.errors import UserError

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Keys under which training code keeps a state dict, the averaged weights first."""


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """Which keys of a model a checkpoint filled."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    """In the model, not in the checkpoint; they stay as they were."""
    unexpected: tuple[str, ...]
    """In the checkpoint, not in the model; not used."""
    mismatched: tuple[str, ...]
    """In both, with different shapes; they stay as they were."""

    def __str__(self) -> str:
        return (
            f"{len(self.matched)} matched, {_counted('missing', self.missing)}, "
            f"{_counted('unexpected', self.unexpected)}, {_counted('of another shape', self.mismatched)}"
        )


def read_state_dict(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read the weights in a file without running any code from it.

    Args:
        path: A .safetensors file, or a pickle (.pth, .ckpt, ...), of which only tensors and plain
            containers are read. State dicts under `model`, `state_dict` or `state_dict_ema` are found.
    Returns:
        State dict and the metadata of the file (safetensors; empty otherwise).
    Raises:
        UserError: If the file is missing, truncated, holds code, or holds no state dict.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"checkpoint {path} is not there: give the path of a .safetensors or .pth file")
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {path} is refused: it holds more than tensors, or is damaged, and could run code; "
            "convert it to .safetensors where you trust it"
        ) from error
    except Exception as error:  # torch's unpickler fails in every way on damaged bytes, IndexError for one
        raise UserError(
            f"checkpoint {path} cannot be read: it is truncated or no checkpoint; copy it again"
        ) from error
    return _unwrap(content, path), {}


def load_weights(
    model: nn.Module,
    source: str | Path | Mapping[str, Tensor],
    *,
    min_matched: float = 0.9,
    within: tuple[str, ...] = ("",),
) -> LoadReport:
    """Fill `model` from a file or a state dict, as far as keys and shapes agree.

    A classifier's checkpoint fills the pyramid form of the same model, and back; a head of another
    number of classes stays new.

    Args:
        model: The model to fill.
        source: Path (see `read_state_dict`) or state dict.
        min_matched: Least share of the model's values, its classifier aside, that must be filled; 0
            takes whatever fits.
        within: Prefixes of the keys that this share is of; all by default.
    Raises:
        UserError: If less is filled; the model is then unchanged.
    """
    name = str(source) if isinstance(source, (str, Path)) else "the given state dict"
    given = read_state_dict(source)[0] if isinstance(source, (str, Path)) else dict(source)
    own = model.state_dict()
    matched = {key: value for key, value in given.items() if key in own and own[key].shape == value.shape}
    report = LoadReport(
        matched=tuple(matched),
        missing=tuple(key for key in own if key not in given),
        unexpected=tuple(key for key in given if key not in own),
        mismatched=tuple(key for key in given if key in own and key not in matched),
    )
    counted = {
        key: own[key].numel() for key in own.keys() - _classifier_keys(model) if key.startswith(within)
    }
    share = sum(n for key, n in counted.items() if key in matched) / max(1, sum(counted.values()))
    if share < min_matched:
        raise UserError(
            f"{name} fills {share:.0%} of this model ({report}), at least {min_matched:.0%} expected: it is "
            "of another model; give the right file, or a lower min_matched"
        )
    model.load_state_dict(matched, strict=False)
    return report


def load_parts(
    model: nn.Module, source: str | Path | Mapping[str, Tensor], prefixes: Mapping[str, str]
) -> LoadReport:
    """Fill parts of a model, such as a dense model's backbone from a classifier.

    Args:
        model: The model to fill.
        source: Path (see `read_state_dict`) or state dict.
        prefixes: Before the keys of each part there -> before those here; "" there stands for all.
    Raises:
        UserError: If more than a tenth of these parts' values stay as they are; the model is then unchanged.
    """
    state = read_state_dict(source)[0] if isinstance(source, (str, Path)) else source
    entries = {}
    for key, value in state.items():
        prefix = next((each for each in prefixes if key.startswith(each)), None)
        entries[key if prefix is None else prefixes[prefix] + key.removeprefix(prefix)] = value
    return load_weights(model, entries, within=tuple(prefixes.values()))


def save_weights(model: nn.Module | Mapping[str, Tensor], path: str | Path, metadata: dict[str, str]) -> None:
    """Write weights as safetensors; the file appears whole or not at all.

    Raises:
        UserError: If the folder cannot be written to or the disk is full.
    """
    state = model.state_dict() if isinstance(model, nn.Module) else dict(model)
    # Copies: safetensors refuses tensors that share memory, such as a tied weight.
    tensors = {key: value.detach().cpu().clone().contiguous() for key, value in state.items()}
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `save_file`: it makes a file that nobody else may read.
        temporary.write_bytes(serialize(tensors, metadata=metadata))
        replace_durably(temporary, path)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # the folder may be what is wrong
            temporary.unlink()
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot write {path}: {reason}; the previous file, if any, is unchanged: give a folder that can "
            "be written, with space"
        ) from error


def write_text(path: str | Path, text: str) -> None:
    """Write a small file whole or not at all; folders on the way are made.

    Raises:
        UserError: If it cannot be written; the previous file, if any, is unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Not `mkstemp`: it makes a file that nobody else may read.
        temporary.write_text(text, encoding="utf-8")
        replace_durably(temporary, path)
    except OSError as error:
        with suppress(OSError):  # the folder may be what is wrong
            temporary.unlink()
        raise UserError(
            f"cannot write {path}: {error.strerror}; give a folder that can be written, with space"
        ) from error


def replace_durably(temporary: str | Path, path: str | Path) -> None:
    """Put a finished file in the place of `path` in one step that survives a power cut.

    Both must lie in the same folder: a rename across file systems is a copy, which can be cut off.
    """
    with open(temporary, "rb+") as file:
        os.fsync(file.fileno())
    os.replace(temporary, path)
    folder = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _classifier_keys(model: nn.Module) -> set[str]:
    """Name the values of the classifier, which a checkpoint may lack or have for other classes."""
    find = getattr(model, "get_classifier", None)
    classifier = find() if find is not None else None
    values = {id(p) for p in classifier.parameters()} if isinstance(classifier, nn.Module) else set()
    return {key for key, value in model.named_parameters() if id(value) in values}


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"checkpoint {path} cannot be read: {error}; it is truncated or not safetensors"
        ) from error


def _unwrap(content: object, path: Path) -> dict[str, Tensor]:
    for wrapper in WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(
            f"checkpoint {path} holds no weights: a state dict is expected, or one under {WRAPPERS}"
        )
    return tensors


def _counted(what: str, keys: tuple[str, ...]) -> str:
    shown = ", ".join(keys[:3]) + (", ..." if len(keys) > 3 else "")
    return f"{len(keys)} {what}" + (f" ({shown})" if keys else "")
