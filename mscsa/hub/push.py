"""Publishing a trained model: weights without paths of this machine, timm's description, a card, hashes."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from torch import nn

from mscsa.assembly.weights_file import WeightsInfo, load_trained, weights_at
from mscsa.checkpoints.saving import save_weights
from mscsa.cost.model_info import count_model
from mscsa.files import whole_folder, write_text
from mscsa.hub.card import CardFacts, write_card
from mscsa.hub.comparison import Matched, find_comparison, read_comparison
from mscsa.hub.manifest import CARD, MANIFEST, TIMM_CONFIG, WEIGHTS, write_manifest
from mscsa.hub.places import Repository, parse_place
from mscsa.hub.remote import upload
from mscsa.macs import count_parameters
from mscsa.recipes.spec import PLACES

logger = logging.getLogger(__name__)

_PATHS = ("checkpoint", "baseline_checkpoint", *PLACES)
"""Fields of a recipe that name places of the machine it ran on."""


def push(
    run: str | Path,
    place: str,
    *,
    name: str | None = None,
    license: str | None = None,
    comparison: str | Path | None = None,
    private: bool = True,
) -> list[str]:
    """Write a trained model to a new folder, or upload it to the hub, so that others can use it.

    Args:
        run: Folder of a run, which stands for its best weights, or a file of weights in one.
        place: A folder, or `hf-hub:OWNER/NAME`.
        name: Title of the card; the recipe's, or the backbone's, if None.
        license: Of this model, by the hub's short name such as apache-2.0.
        comparison: `compare.json` of a comparison that the model is an arm of; found by itself if the run
            lies in the comparison's folder.
        private: Whether a new repository is only for its owner; one that is there stays as it is.
    Returns:
        Names of the files that were written.
    Raises:
        UserError: If the run is not usable, the folder is not empty, or the hub cannot be reached or refuses.
    """
    where = parse_place(place)
    with _new_folder(where) as folder:
        model, info = load_trained(run)
        recipe = str(info.provenance.get("recipe", {}).get("name"))
        found = comparison if comparison is not None else find_comparison(weights_at(run).parent)
        matched = None if found is None else read_comparison(found, recipe)
        title = name or PurePath(recipe if recipe != "None" else info.model.name).name
        repository = where.name if isinstance(where, Repository) else "OWNER/NAME"
        _write(folder, model, info, matched, title=title, license=license, repository=repository)
        names = [each for each in (WEIGHTS, TIMM_CONFIG, MANIFEST, CARD) if (folder / each).exists()]
        if isinstance(where, Repository):
            upload(folder, where, private=private, message=f"mscsa push: {title}")
    return names


def _write(
    folder: Path,
    model: nn.Module,
    info: WeightsInfo,
    matched: Matched | None,
    **said: Any,
) -> None:
    """Write all files of a model; what is `said` goes into the card as it is."""
    in_timm = info.model.head is None and _describe_to_timm(model, info, folder)
    save_weights(model, folder / WEIGHTS, _without_paths(info).to_metadata())
    write_manifest(folder)
    facts = CardFacts(
        info=info,
        parameters=count_parameters(model),
        macs=count_model(model.to("meta").requires_grad_(False), info.data.input_size),
        in_timm=in_timm,
        comparison=matched,
        **said,
    )
    write_text(folder / CARD, write_card(facts))


def _describe_to_timm(model: nn.Module, info: WeightsInfo, folder: Path) -> bool:
    """Write what timm builds a classifier from; False, and nothing, where timm does not build the same."""
    height, width = info.data.input_size
    of_images = {"input_size": (3, height, width)}
    of_images |= {
        key: info.input[key] for key in ("mean", "std", "crop_pct", "interpolation") if key in info.input
    }
    try:
        save_for_hf(
            model,
            str(folder),
            model_config={"label_names": list(info.class_names)},
            data_config=of_images,
            safe_serialization=True,
        )
        again = timm.create_model(f"local-dir:{folder}", pretrained=True)
        problem = None if _is_same(again, model) else "it would be another model"
    except Exception as error:  # timm raises what it likes
        problem = (" ".join(str(error).split()) or type(error).__name__)[:200]
    (folder / WEIGHTS).unlink(missing_ok=True)  # ours, with metadata, takes its place
    if problem is not None:
        logger.warning(
            "timm cannot build this classifier from a folder (%s): there is no %s", problem, TIMM_CONFIG
        )
        (folder / TIMM_CONFIG).unlink(missing_ok=True)
    return problem is None


def _is_same(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(value, b[key]) for key, value in a.items())


def _without_paths(info: WeightsInfo) -> WeightsInfo:
    """Leave out the folders of this machine: they are nobody's business, and nowhere else."""
    provenance = {key: _bare(each) for key, each in info.provenance.items()}
    return replace(info, data=info.data.without_places(), provenance=provenance)


def _bare(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {
        key: PurePath(each).name if key in _PATHS and isinstance(each, str) else _bare(each)
        for key, each in value.items()
    }


@contextmanager
def _new_folder(where: Path | Repository) -> Iterator[Path]:
    """Give a folder to write into, which appears at its place whole or not at all.

    Raises:
        UserError: If there is something in its place, or it cannot be written.
    """
    if isinstance(where, Repository):
        with tempfile.TemporaryDirectory(prefix="mscsa-push-") as name:
            yield Path(name)
        return
    with whole_folder(where) as folder:
        yield folder
