"""Filling a model from weights: where its parts are, what must fit, what stays new."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mscsa.checkpoints.configurations import refuse_other
from mscsa.checkpoints.ends import adapted, is_of_other_form, other_channels
from mscsa.checkpoints.parts import (
    BACKBONE,
    HEAD,
    ModelParts,
    flattened,
    foreign_keys,
    is_counter,
    locate,
    longest,
    parts_of,
    refuse_wrapped_parts,
    unwrapped,
)
from mscsa.checkpoints.policies import Policy, PolicyName, find_policy
from mscsa.checkpoints.reading import Weights, read_state_dict, weights_in
from mscsa.checkpoints.report import LoadReport, named
from mscsa.errors import UserError
from mscsa.skeletons import without_data

logger = logging.getLogger(__name__)


def load_weights(
    model: nn.Module, source: str | Path | Mapping[str, Any], *, policy: PolicyName = "backbone"
) -> LoadReport:
    """Fill a model from a file or a state dict, all that the policy asks for or nothing.

    The file may be of the same model, of a plain timm model, a `features_only` one, a classifier, a pyramid,
    a segmenter or a detector, with or without MSCSA and with any prefix: the backbone, MSCSA and their fusion
    are found wherever they are. What stays new is said by a warning, and so is what is adapted.

    Args:
        model: The model to fill; in DDP or compiled too.
        source: Path (see `read_state_dict`) or state dict, bare or as in such a file.
        policy: What must come from the file. `exact`: everything, as for a model that is to be used as it is.
            `new_head`: all but the layers whose shape depends on the number of classes. `backbone`: the whole
            backbone, and MSCSA, fusion and head if the file has them; where one side is of 3 input channels
            and the other is not, the first layer is adapted as timm does.
    Returns:
        What was filled and what was not.
    Raises:
        UserError: If the file cannot be read or does not fit (names keys and shapes, or fields of a neck's
            configuration, which files of `save_weights` say); the model is then unchanged. Counters of norms,
            which frozen ones have not, fit whether the other side has them or not.
    """
    chosen = find_policy(policy)
    model = unwrapped(model)
    refuse_wrapped_parts(model)
    if any(value.is_meta for value in (*model.parameters(), *model.buffers())):
        raise UserError(
            "the model is on the meta device, where weights have no place: build it on the CPU (to_empty "
            "would leave what no file has, as the position indices of a Swin, without values)"
        )
    (state, metadata), name = read_source(source)
    entries, report = fit(model, state, chosen, name)
    refuse_other(model, metadata, set(report.filled), name)
    model.load_state_dict(entries, strict=False)
    if text := report.warning():
        logger.warning("%s", text)
    return report


def fit(
    model: nn.Module, state: Mapping[str, Tensor], policy: Policy, name: str
) -> tuple[dict[str, Tensor], LoadReport]:
    """Find the values for a model in a state dict, without filling it.

    Args:
        model: The model; its values do not matter.
        state: Tensors by key.
        policy: What must fit.
        name: What to call the state dict in messages.
    Returns:
        Entries for `model.load_state_dict`, and what they fill.
    Raises:
        UserError: If what must fit does not.
    """
    parts = parts_of(model)
    found = _places_of_keys(parts, state)
    given, places, notes = _bridged(model, parts, found, state, policy)
    shapes = {key: _difference(given[there], parts.own[key]) for key, there in places.items()}
    shapes = {key: text for key, text in shapes.items() if text}
    fitting = {key: given[there] for key, there in places.items() if key not in shapes}
    there = {parts.part_of[key] for key in places}
    supplied = {key for key in _supplied(model, fitting) if parts.part_of[key] in there}
    left, problems = _judge(parts, places.keys() | supplied, shapes, found.foreign, policy)
    entries = {key: value for key, value in fitting.items() if parts.part_of[key] not in left}
    filled = {*entries, *(key for key in supplied if parts.part_of[key] not in left)}
    mismatched = [key for key in shapes if parts.part_of[key] not in left]
    used = {places[key] for key in (*entries, *mismatched)}
    unexpected = [key for key in state if key not in used]
    more = [key for key in unexpected if not is_counter(key)]
    if more and not found.foreign and not policy.allows_more:
        problems.append(named("unexpected", more))
    if problems:
        raise _misfit(name, model, parts, entries, problems, _cause(model, parts, places, given))
    report = LoadReport(
        name=name,
        matched=tuple(key for key in parts.own if key in filled),
        missing=tuple(key for key in parts.own if key not in filled and key not in mismatched),
        unexpected=tuple(unexpected),
        mismatched=tuple(mismatched),
        parts=parts.part_of,
        not_finite=tuple(key for key, value in entries.items() if not _is_finite(value)),
        notes=notes,
    )
    return entries, report


class _Found(NamedTuple):
    """Where things are in a file."""

    places: dict[str, str]
    """Key of the model -> key of the file."""
    foreign: dict[str, list[str]]
    """Part -> what the file has of it that shows another structure."""
    backbone: str | None
    """Prefix of the backbone; None if there is none."""


def _bridged(
    model: nn.Module, parts: ModelParts, found: _Found, state: Mapping[str, Tensor], policy: Policy
) -> tuple[Mapping[str, Tensor], dict[str, str], tuple[str, ...]]:
    """Make values fit, or leave them out, where the ends of a backbone differ and the policy allows it.

    Returns:
        The values, where those are that the model takes, and what to say of it.
    """
    values, places, notes = dict(state), found.places, []
    channels = other_channels(model, parts, places, state) if policy.adapts_channels else {}
    for key, (theirs, ours) in channels.items():
        values[places[key]] = adapted(state[places[key]], (theirs, ours))
        notes.append(f"{key} adapted from {theirs} input channels to {ours}")
    heads = {key for key in places if key in parts.classifier and parts.part_of[key] == HEAD}
    if heads and policy.new_classifier and is_of_other_form(model, parts, found.backbone, state):
        places = {key: there for key, there in places.items() if key not in heads}
        notes.append(
            "its head is not used: one of file and model adds it to a kept classifier, the other not"
        )
    return values, places, tuple(notes)


def _judge(
    parts: ModelParts,
    present: Set[str],
    shapes: Mapping[str, str],
    foreign: Mapping[str, Sequence[str]],
    policy: Policy,
) -> tuple[set[str], list[str]]:
    """Give the parts that are left as built, and what is wrong with those that must not be, by part."""
    left: set[str] = set()
    problems: list[str] = []
    # In a file of another kind of model a part may have another task, as the injection of other tokens.
    is_same_kind = {parts.part_of[key] for key in present} == set(parts.part_of.values())
    for part in dict.fromkeys(parts.part_of.values()):
        keys = [key for key in parts.keys(part) if not (policy.new_classifier and key in parts.classifier)]
        absent = [key for key in keys if key not in present]
        wrong = [f"{key} {shapes[key]}" for key in keys if key in shapes]
        is_other = bool(absent) or part in foreign or bool(wrong and not is_same_kind)
        if is_other and not policy.must_fill(part, len(absent) < len(keys)):
            left.add(part)  # better all new than half of it
            continue
        told = {"missing": absent, "of another shape": wrong, "unexpected": foreign.get(part, ())}
        texts = [named(what, each) for what, each in told.items() if each]
        problems += [f"{part}: {', '.join(texts)}"] if texts else []
    return left, problems


def _places_of_keys(parts: ModelParts, state: Mapping[str, Tensor]) -> _Found:
    """Find each key of a model in a file, and by part what the file has that shows another structure."""
    found = locate(parts, state)
    places = {}
    for key in parts.own:
        part = longest(parts.prefixes, key)
        if part is None or part not in found:
            continue
        name = key.removeprefix(parts.prefixes[part])
        here = next((h for n in (name, flattened(name)) if (h := found[part] + n) in state), None)
        if here is not None and longest(found, here) == part:
            places[key] = here
    for key, names in parts.tied.items():
        twin = next((each for each in names if each in places), None)
        if twin is not None:
            places.setdefault(key, places[twin])
    used = set(places.values())
    others: dict[str, dict[str, Tensor]] = {}
    for key in state:
        part = None if key in used or is_counter(key) else longest(found, key)
        if part is not None:
            others.setdefault(part, {})[key.removeprefix(found[part])] = state[key]
    foreign = {part: [found[part] + name for name in names] for part, names in others.items()}
    if BACKBONE in others:
        own = [key.removeprefix(parts.prefixes[BACKBONE]) for key in parts.keys(BACKBONE)]
        foreign[BACKBONE] = [found[BACKBONE] + name for name in foreign_keys(own, others[BACKBONE])]
    return _Found(places, {part: keys for part, keys in foreign.items() if keys}, found.get(BACKBONE))


def _supplied(model: nn.Module, entries: Mapping[str, Tensor]) -> frozenset[str]:
    """Name the values that the model itself supplies where a file lacks them, as old ones do.

    That is settled by each module's own loading, which is run on a copy of the model without data.
    """
    own = model.state_dict().keys()
    if entries.keys() == own:
        return frozenset()
    copied = without_data(model)
    given = {key: value.to("meta") for key, value in entries.items()}
    with warnings.catch_warnings():  # torch's batch norm tells that the copy takes no counters
        warnings.simplefilter("ignore", UserWarning)
        missing = copied.load_state_dict(given, strict=False).missing_keys
    return frozenset(own - entries.keys() - set(missing))


def _misfit(
    name: str, model: nn.Module, parts: ModelParts, entries: Iterable[str], problems: list[str], cause: str
) -> UserError:
    """Say what keeps a file from filling a model, in one line; its cause, where one is known, at the end."""
    count = len(set(entries))
    hint = cause or "give weights of the same architecture and configuration"
    if count < len(parts.own) // 4:
        hint = f"it is of another model; {hint}"
    return UserError(
        f"{name} fills {count} of {len(parts.own)} tensors of this model ({type(model).__name__}): "
        f"{'; '.join(problems)}; {hint}"
    )


def _cause(
    model: nn.Module, parts: ModelParts, places: Mapping[str, str], state: Mapping[str, Tensor]
) -> str:
    """Say that a file is of other input channels than a model, if that is so."""
    for theirs, ours in other_channels(model, parts, places, state).values():
        return (
            f"the file is of {theirs} input channels, the model of {ours}: build it with in_chans={theirs}, "
            "or load with policy='backbone', which adapts the first layer"
        )
    return ""


def read_source(source: str | Path | Mapping[str, Any]) -> tuple[Weights, str]:
    """Give what a source holds, and what to call it."""
    if isinstance(source, (str, Path)):
        weights, name = read_state_dict(source), str(source)
    else:
        name = "the given state dict"
        weights = weights_in(source, name)
    if "left" in weights.metadata:
        name += f" (its {weights.metadata['taken']}; {weights.metadata['left']} not used)"
    return weights, name


def _difference(given: Tensor, own: Tensor) -> str:
    """Say how a value of a file differs from the model's in shape or kind of number; empty if it does not."""
    if given.shape != own.shape:
        return f"{tuple(given.shape)} instead of {tuple(own.shape)}"
    if own.is_floating_point() and not given.is_floating_point():
        return f"{given.dtype} instead of {own.dtype}"
    if given.is_meta and not own.is_meta:
        return "on the meta device, without values"
    return "" if given.layout == torch.strided else f"{given.layout} instead of {torch.strided}"


def _is_finite(value: Tensor) -> bool:
    if value.is_meta or not value.is_floating_point():
        return True
    # Types of one byte have no such test of their own.
    return bool(torch.isfinite(value.float() if value.element_size() == 1 else value).all())
