"""Backbones that timm lacks, and what MSCSA needs to know of any other."""

from types import ModuleType

from mscsa.backbones import coat, p2t, shunted, topformer

FAMILIES: tuple[ModuleType, ...] = (topformer, p2t, shunted, coat)
"""The backbones here, a module each; a new one is a file and a word in this line.

Importing a family registers its models with timm. It has `default_cfgs`, by model name, smallest first,
and `checkpoint_filter_fn`, which fits the authors' checkpoints to its models.
"""
