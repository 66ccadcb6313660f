"""Where timm finds weights: on this machine, or by a download, which fails in one line and at once."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled
from timm.models import PretrainedCfg, get_pretrained_cfg, resolve_pretrained_cfg

from mscsa.errors import UserError

LOCAL_SOURCES = ("state_dict", "file")
"""Where a `pretrained_cfg` of timm may say that weights are, on this machine."""

WEIGHT_SOURCES = (*LOCAL_SOURCES, "url", "hf_hub_id")
"""Where it may say that they are, on this machine or elsewhere."""

LOCAL_DIR = "local-dir:"
"""Before the folder of a saved model, as timm names it."""

PATIENCE = 5.0
"""Seconds to wait for a connection to the hub."""


def entries_given(cfg: Any, overlay: Mapping[str, Any] | None) -> dict[str, Any]:
    """Give the entries of a model's description that a caller sets.

    Args:
        cfg: timm's `pretrained_cfg`: entries, a `PretrainedCfg`, or None. A tag sets no entry.
        overlay: timm's `pretrained_cfg_overlay`, which comes before it.
    """
    entries = cfg.to_dict() if isinstance(cfg, PretrainedCfg) else cfg
    return {**(entries if isinstance(entries, Mapping) else {}), **(overlay or {})}


def are_named(cfg: Mapping[str, Any]) -> bool:
    """Whether the entries of a description say where weights are."""
    return any(cfg.get(source) for source in WEIGHT_SOURCES)


def are_local(cfg: Mapping[str, Any]) -> bool:
    """Whether they say that weights are on this machine."""
    return any(cfg.get(source) for source in LOCAL_SOURCES)


def are_direct(cfg: Mapping[str, Any]) -> bool:
    """Whether they name weights on this machine, and not a saved model's folder or repository by `source`."""
    return are_local(cfg) and cfg.get("source") not in ("local-dir", "hf-hub")


def exist_somewhere(name: str, cfg: Any = None, overlay: Mapping[str, Any] | None = None) -> bool:
    """Whether timm knows where weights of a model are.

    Args:
        name: timm name, with or without a pretrained tag.
        cfg: As of `entries_given`.
        overlay: As of `entries_given`.
    """
    bare, _, tag = name.partition(".")
    if ":" in name or get_pretrained_cfg(bare) is None:  # what is elsewhere, or has another name by now
        return True
    found = resolve_pretrained_cfg(bare, cfg or tag or None, dict(overlay or {}))
    return are_named(found.to_dict())


def place_of(cfg: Mapping[str, Any], name: str = "") -> str:
    """Say where the weights are that the entries of a description name, for messages.

    Args:
        cfg: The entries.
        name: Of the model, which may be a folder's.
    """
    if cfg.get("state_dict"):
        return "the given state dict"
    return str(cfg.get("file") or cfg.get("hf_hub_id") or cfg.get("url") or name.removeprefix(LOCAL_DIR))


def check_file(cfg: Mapping[str, Any]) -> None:
    """Refuse a description whose file is not there, which timm would do without naming it.

    Raises:
        UserError: Names the file.
    """
    file = cfg.get("file")
    if are_direct(cfg) and not cfg.get("state_dict") and not Path(str(file)).is_file():
        raise UserError(f"{file} is not there: give the path of a .safetensors or .pth file")


def check_local_dir(name: str) -> None:
    """Refuse the name of a folder that timm cannot build a model from.

    Args:
        name: `local-dir:FOLDER`.
    Raises:
        UserError: Names the folder.
    """
    folder = name.removeprefix(LOCAL_DIR)
    if not (Path(folder) / "config.json").is_file():
        raise UserError(
            f"{folder} holds no config.json, by which timm would build a model: give a folder that timm's "
            "save_for_hf or `mscsa push` wrote"
        )


@contextmanager
def downloads(what: str, advice: str, *, verb: str = "downloaded") -> Iterator[None]:
    """Let timm, or the hub's client, download in the block.

    What was downloaded before is found without a network.

    Without a connection the hub is not asked: its client would try again and again for most of a minute.

    Args:
        what: What is downloaded, for the message.
        advice: What to do without it.
        verb: What is done with it, for the message.
    Raises:
        UserError: If it cannot be done.
    """
    is_offline = constants.HF_HUB_OFFLINE
    problem = "its offline mode is on" if is_offline else _hub_problem()
    constants.HF_HUB_OFFLINE = problem is not None
    try:
        yield
    except Exception as error:
        cause = _cause(error)
        if cause is None:
            raise
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        reason = f"{_host()}: {problem}" if isinstance(cause, OfflineModeIsEnabled) else lines[0][:200]
        raise UserError(f"{what} cannot be {verb} ({reason}): {advice}") from error
    finally:
        constants.HF_HUB_OFFLINE = is_offline


def _host() -> str:
    return urlsplit(constants.ENDPOINT).hostname or constants.ENDPOINT


def _hub_problem() -> str | None:
    """Say why the hub cannot be reached; None if it can, or if a proxy has to tell."""
    if {"http", "https", "all"} & getproxies().keys():
        return None
    address = urlsplit(constants.ENDPOINT)
    try:
        socket.create_connection((_host(), address.port or 443), timeout=PATIENCE).close()
    except OSError as error:
        return error.strerror or str(error)
    return None


def _cause(error: BaseException) -> BaseException | None:
    """Find what a failure came from; None if it is not one of files or connections."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    return causes[-1] if any(isinstance(cause, OSError) for cause in causes) else None
