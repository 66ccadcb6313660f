"""The parts of a model, and where in a file each of them is."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from mscsa.attention.folding import FOLDED, is_folded
from mscsa.errors import UserError

BACKBONE, MSCSA, HEAD = "backbone", "mscsa", "head"
"""Names of parts that the loader treats in their own ways; a model may have more."""

_LEAST_SHARE = 0.125
"""Of MSCSA's names, for it to be in a file; transformers, whose blocks have norms too, reach half of it."""

_LEAST_SHARE_OF_HEAD = 0.5
"""Of a head's names, for it to be in a file of other prefixes; one of another design has few of them."""

_WRAPPING_MODULES = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
"""What torch.compile, FSDP and activation checkpointing put into keys, wherever they wrap."""

_IDLE_BUFFERS = ("attn_mask", "relative_coords_table", "total_ops", "total_params")
"""Last names of values that some versions of a model write and others compute."""


@runtime_checkable
class HasParts(Protocol):
    """A model that says where its parts are."""

    def weight_parts(self) -> dict[str, str]:
        """Give name of part -> prefix of its keys; a key belongs to the longest prefix."""


@dataclass(frozen=True)
class ModelParts:
    """The keys of a model, by part."""

    own: dict[str, Tensor]
    """State dict of the model, by `plain_key`."""
    prefixes: dict[str, str]
    """Part -> prefix of its keys."""
    part_of: dict[str, str]
    """Key -> part; the classifier of a model that names no parts is its head."""
    classifier: frozenset[str]
    """Keys of the layers whose shape depends on the number of classes."""
    tied: dict[str, frozenset[str]]
    """Key of a shared parameter -> all of its keys."""

    def keys(self, part: str) -> list[str]:
        """List the keys of a part, in the order of the model."""
        return [key for key, each in self.part_of.items() if each == part]


def description_of_backbone(model: nn.Module, parts: ModelParts) -> tuple[nn.Module, Mapping[str, Any]]:
    """Give the backbone of a model, and timm's description of it (`pretrained_cfg`); empty if it has none."""
    backbone = model.get_submodule(parts.prefixes[BACKBONE].rstrip("."))
    cfg: Any = getattr(backbone, "pretrained_cfg", None) or {}
    return backbone, cfg if isinstance(cfg, Mapping) else vars(cfg)


def parts_of(model: nn.Module) -> ModelParts:
    """Sort the keys of a model into parts; of one that names none, all but the classifier is the backbone."""
    own = {plain_key(key): value for key, value in model.state_dict().items()}
    prefixes = model.weight_parts() if isinstance(model, HasParts) else {BACKBONE: ""}
    classifier = frozenset(_classifier_keys(model) & own.keys())
    part_of = {}
    for key in own:
        part = longest(prefixes, key) or HEAD
        part_of[key] = HEAD if part == BACKBONE and key in classifier else part
    names: dict[int, list[str]] = defaultdict(list)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names[id(parameter)].append(plain_key(name))
    tied = {name: frozenset(group) for group in names.values() if len(group) > 1 for name in group}
    return ModelParts(own, prefixes, part_of, classifier, tied)


def plain_key(key: str) -> str:
    """Take out of a key what wraps modules in training.

    >>> plain_key("backbone._orig_mod.conv1.weight")
    'backbone.conv1.weight'
    """
    for wrapping in _WRAPPING_MODULES:
        key = key.replace(wrapping, "")
    return key


def is_counter(key: str) -> bool:
    """Whether a value counts the batches of a norm: frozen norms have none, and compute the same."""
    return key.rpartition(".")[2] == "num_batches_tracked"


def longest(prefixes: Mapping[str, str], key: str) -> str | None:
    """Name the part whose prefix is the longest that a key begins with."""
    fitting = [part for part, prefix in prefixes.items() if key.startswith(prefix)]
    return max(fitting, key=lambda part: len(prefixes[part]), default=None)


def locate(parts: ModelParts, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Find the parts of a model in a file, whatever stands before their keys there.

    The backbone is where most of its names and shapes are. Parts beside it in the model are sought beside it
    in the file, and MSCSA also anywhere else; so is a head that the backbone lies in, as in detectors, where
    nothing of it is beside the backbone.

    Returns:
        Part -> prefix in the file, of the parts that may be there.
    """
    places = _places(parts, BACKBONE, state)
    if not places:
        return {}
    here, there = _without_common_end(parts.prefixes[BACKBONE], places[0])
    found = {
        part: there + prefix.removeprefix(here)
        for part, prefix in parts.prefixes.items()
        if prefix.startswith(here)
    }
    found[BACKBONE] = places[0]
    if MSCSA in parts.prefixes:
        elsewhere = _places(parts, MSCSA, state, _LEAST_SHARE)
        found |= {MSCSA: elsewhere[0]} if elsewhere else {}
    if parts.prefixes[BACKBONE].startswith(parts.prefixes.get(HEAD, "?")) and HEAD not in found:
        elsewhere = _places(parts, HEAD, state, _LEAST_SHARE_OF_HEAD)
        found |= {HEAD: elsewhere[0]} if elsewhere else {}
    return {part: prefix for part, prefix in found.items() if any(key.startswith(prefix) for key in state)}


def flattened(name: str) -> str:
    """Name a value as timm's `features_only` models do, which join a stage to its row.

    >>> flattened("stages.0.blocks.1.weight")
    'stages_0.blocks.1.weight'
    """
    return re.sub(r"^(\w+)\.(\w+)\.", r"\1_\2.", name)


def foreign_keys(names: list[str], others: Mapping[str, Tensor]) -> list[str]:
    """Choose, of a file's keys that a backbone has no place for, those that show another architecture.

    A classifier, a last norm and stages after the last one are what a pyramid is built without. But what lies
    inside a module that others follow (deeper stages, attention in a block) would be missing from every
    feature.

    Args:
        names: Keys of the backbone, in its order.
        others: What the file has beside these, by key without prefix.
    """
    last_of = {module: i for i, name in enumerate(names) for module in _modules_above(name)}
    found = []
    for key, value in others.items():
        inside = next((module for module in reversed(_modules_above(key)) if module in last_of), None)
        is_idle = not value.is_floating_point() or key.rpartition(".")[2] in _IDLE_BUFFERS
        if inside is not None and last_of[inside] < len(names) - 1 and not is_idle:
            found.append(key)
    return found


def _modules_above(key: str) -> list[str]:
    """List the modules that a value lies in, the outermost first."""
    names = key.split(".")[:-1]
    return [".".join(names[: i + 1]) for i in range(len(names))]


def _places(parts: ModelParts, part: str, state: Mapping[str, Tensor], least_share: float = 0.0) -> list[str]:
    """List the prefixes under which a file has this share of the names of a part, that with most first."""
    prefix, keys = parts.prefixes[part], parts.keys(part)
    sought = {}
    for key in keys:
        name = key.removeprefix(prefix)
        sought[name] = sought[flattened(name)] = parts.own[key].shape
    score: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for key, value in state.items():
        for start in _starts(key):
            shape = sought.get(key[start:])
            if shape is not None:
                score[key[:start]][0] += shape == value.shape
                score[key[:start]][1] += 1
    enough = [place for place, (_, names) in score.items() if names >= least_share * len(keys)]
    return sorted(enough, key=lambda each: (*score[each], _is_averaged(each), -len(each)), reverse=True)


def _starts(key: str) -> Iterable[int]:
    return (0, *(match.end() for match in re.finditer(r"\.", key)))


def _is_averaged(prefix: str) -> bool:
    """Whether a prefix is of averaged weights, where one state dict holds two models."""
    return any(word in prefix for word in ("ema", "teacher", "averag"))


def _without_common_end(one: str, two: str) -> tuple[str, str]:
    """Cut off the last names that two prefixes share: a.b.c. and d.c. give a.b. and d."""
    first, second = one.split(".")[:-1], two.split(".")[:-1]
    while first and second and first[-1] == second[-1]:
        first.pop()
        second.pop()
    return "".join(f"{name}." for name in first), "".join(f"{name}." for name in second)


def _classifier_keys(model: nn.Module) -> set[str]:
    """Name the values of the layers that a file may lack or have for other classes."""
    find: Any = getattr(model, "get_classifier", None)
    given = find() if find is not None else None
    heads = given if isinstance(given, (tuple, list)) else [given]
    layers = {id(layer) for head in heads if isinstance(head, nn.Module) for layer in head.modules()}
    return {
        plain_key(f"{name}.{key}" if name else key)
        for name, module in model.named_modules(remove_duplicate=False)
        if id(module) in layers
        for key in module.state_dict()
    }


def refuse_wrapped_parts(model: nn.Module) -> None:
    """Refuse to fill a model of which a part alone is compiled, or that processes share.

    Keys are then not those of any file, or values not those of one process.

    Raises:
        UserError: Names the part, or what is shared.
    """
    refuse_shares(model, "load its weights before fully_shard")
    wrapped = next((name for name, _ in model.named_modules() if name.endswith("_orig_mod")), None)
    if wrapped is not None:
        part = wrapped.rpartition(".")[0]
        raise UserError(
            f"the model's part {part} is compiled by itself: load the weights first, or compile it in place "
            f"(model.{part}.compile())"
        )


def refuse_shares(model: nn.Module, instead: str) -> None:
    """Refuse a model whose parameters processes share (torch's `fully_shard`), and say what to do instead.

    Raises:
        UserError: Names the first parameter.
    """
    shared = next((name for name, value in model.named_parameters() if is_share(value)), None)
    if shared is not None:
        raise UserError(f"the model's {shared} is cut up among processes (FSDP, fully_shard): {instead}")


def is_share(value: Tensor) -> bool:
    """Whether a process has only a part of a tensor: a `DTensor`."""
    # By what only it can do: its import is slow.
    return hasattr(value, "full_tensor")


def unwrapped(model: nn.Module) -> nn.Module:
    """Take a model out of what training wraps it in, to save or to fill it.

    Raises:
        UserError: If its norms are folded: its weights are no longer those of its files.
    """
    if is_folded(model):
        raise UserError(f"{FOLDED}: save or load the model that it was folded from")
    while True:
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            model = model.module
        elif isinstance(compiled := getattr(model, "_orig_mod", None), nn.Module):
            model = compiled
        else:
            return model
