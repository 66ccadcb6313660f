"""Lists of what there is: models with MSCSA, recipes, necks, and backbones that MSCSA can be added to."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

import timm
import torch
from rich.console import Console
from rich.progress import track

import mscsa  # noqa: F401 (registers the models)
from mscsa.backbones.timm_pyramid import attended_levels, build_backbone, pyramid_levels
from mscsa.errors import UserError
from mscsa.models.register import backbone_names
from mscsa.names import parse_model_name
from mscsa.neck_table import NECKS
from mscsa.recipes import BUILDERS, RECIPES
from mscsa.report import Table


def models_table(pattern: str) -> Table:
    """List the registered models with MSCSA."""
    known = [name for name in timm.list_models() if parse_model_name(name).has_mscsa]
    names = _chosen(known, pattern, "model with MSCSA")
    return Table(
        title="Models with MSCSA (timm.create_model after `import mscsa`)",
        columns=("model", "backbone"),
        rows=[(name, parse_model_name(name).without_mscsa) for name in names],
        num_text_columns=2,
        notes=(
            "mscsa.create_model(NAME, budget=0.10) and `mscsa info NAME` take any backbone of "
            "`mscsa list --backbones`.",
        ),
    )


def recipes_table(pattern: str) -> Table:
    """List the recipes."""
    names = _chosen(RECIPES, pattern, "recipe")
    return Table(
        title="Recipes (mscsa train NAME, mscsa compare NAME)",
        columns=("recipe", "expected", "cost", "origin"),
        rows=[(name, RECIPES[name].expected, RECIPES[name].cost, RECIPES[name].paper) for name in names],
        num_text_columns=4,
        notes=(
            f"{', '.join(f'{prefix}NAME' for prefix in BUILDERS)} take any timm backbone, with or without "
            "mscsa_ before it; one that timm has no weights of starts from --model.checkpoint FILE.",
        ),
    )


def necks_table(pattern: str) -> Table:
    """List the necks."""
    names = _chosen(NECKS, pattern, "neck")
    return Table(
        title="Necks (mscsa info MODEL --neck NAME, mscsa compare RECIPE --necks NAME,NAME)",
        columns=("neck", "title", "paper", "channels of its maps"),
        rows=[
            (
                name,
                entry.title,
                entry.paper,
                "the stages' own" if entry.keeps_channels else "all the same",
            )
            for name, entry in ((name, NECKS[name]) for name in names)
        ],
        num_text_columns=4,
    )


def backbones_table(pattern: str) -> Table:
    """List timm's backbones with two or more strides from 4 on; builds each without data."""
    rows = []
    console = Console(stderr=True)
    names = _chosen(backbone_names(), pattern, "timm model")
    for name in track(names, "building", console=console, transient=True, disable=not console.is_terminal):
        try:
            with torch.device("meta"):
                backbone = build_backbone(name)
            levels = attended_levels(pyramid_levels(backbone), name)
        except UserError:  # no pyramid
            continue
        strides = ", ".join(str(level.stride) for level in levels)
        rows.append((name, strides, ", ".join(str(level.channels) for level in levels)))
    if not rows:
        raise UserError(f"no timm model like {pattern!r} has a feature pyramid: give another pattern")
    return Table(
        title=f"{len(rows)} backbones that MSCSA can be added to",
        columns=("backbone", "strides", "channels"),
        rows=rows,
        num_text_columns=3,
    )


def _chosen(names: Iterable[str], pattern: str, what: str) -> list[str]:
    known = list(names)
    chosen = fnmatch.filter(known, pattern) or [name for name in known if pattern in name]
    if not chosen:
        raise UserError(f"no {what} is like {pattern!r}: give a pattern such as '*resnet*'")
    return chosen
