"""Looking through packed images before a long run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from mscsa.data.contract import SPLITS, Split
from mscsa.data.mirroring import mirror_note, mirror_warning
from mscsa.data.packed.layouts import PackedSplit, find_packed
from mscsa.data.problems import Findings, Problem, contradiction
from mscsa.errors import UserError
from mscsa.progress import tracked
from mscsa_runtime.images import BadImage, decode_image


def check_packed(root: str | Path) -> list[Problem]:
    """Look through both splits: decode every image and compare the splits.

    Finds unreadable images, classes without images, copies of one image with different classes in a split,
    and images that are in both splits.

    Raises:
        UserError: If the files cannot be read at all.
    """
    findings = Findings(root)
    seen: dict[bytes, _Seen] = {}
    names: list[str] = []
    for split in SPLITS:
        found = find_packed(root, split)
        if found is None:
            raise UserError(f"{root}: no tar shards, Parquet or Arrow files; give the folder that holds them")
        names = found.class_names
        own = {found.source.labels[i] for i in found.chosen}
        for name in (each for each in names if each not in own):
            findings.add(f"class without images in {split}", f"{name!r} has no image in {split}", "add some")
        _check_images(found, findings, seen)
    warning = mirror_warning(names, (), can_swap=False)
    return findings.problems() + ([] if warning is None else [mirror_note(root, warning)])


@dataclass(frozen=True)
class _Seen:
    """The first image with some content."""

    where: str
    label: str
    split: Split


def _check_images(found: PackedSplit, findings: Findings, seen: dict[bytes, _Seen]) -> None:
    """Decode a split's images and compare their contents with those `seen`, which grows by them."""
    for index in tracked(found.chosen.tolist(), f"images of {found.split}", len(found.chosen)):
        where = found.source.describe(index)
        try:
            content = found.source.content(index)
            decode_image(content)
        except BadImage as bad:
            findings.add("unreadable image", bad.what, bad.remedy, where)
            continue
        except UserError as error:
            findings.add("unreadable image", str(error), "restore it", where)
            continue
        own = _Seen(where, found.source.labels[index], found.split)
        first = seen.setdefault(hashlib.sha256(content).digest(), own)
        if first.split != own.split:
            what = f"same content as {first.where}"
            findings.add("image in both splits", what, "remove it from one of the splits", where)
        elif first.label != own.label:
            problem = contradiction(where, own.label, first.where, first.label)
            findings.add("image of two classes", problem.what, problem.remedy, where)
