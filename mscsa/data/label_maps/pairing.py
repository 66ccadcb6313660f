"""Which label map belongs to which image: by their names, less a suffix that all of a kind have."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from mscsa.data.label_maps.folders import LABEL_EXTENSIONS, MASK_SUFFIXES, MapPlaces, map_files
from mscsa.errors import UserError
from mscsa_runtime.images import EXTENSIONS

logger = logging.getLogger(__name__)

_IMAGE_SUFFIXES = ("_leftImg8bit", "_sat", "_image", "_img", "_rgb", "_im")
_PREFERRED = ("labelTrainIds", "labelIds", "mask", "label", "labels")
"""Last words of the suffixes that are taken where an image has several label maps."""


@dataclass(frozen=True)
class Pairing:
    """Images with their label maps, and what is left over."""

    pairs: dict[str, tuple[Path, Path]]
    """Image and label map by what their names have in common, in that order."""
    alone: tuple[Path, ...] = ()
    """Files without a partner."""
    doubles: tuple[tuple[Path, Path], ...] = ()
    """Files of one name but for the ending: one that is taken, one that is not."""
    suffix: str = ""
    """What the names of label maps have behind those of their images."""


def pair_files(places: MapPlaces) -> Pairing:
    """Pair the images and label maps of a split, subfolders included.

    Raises:
        UserError: If images have several label maps each, and none of them is the usual one.
    """
    images, labels = map_files(places.images, EXTENSIONS), map_files(places.labels, LABEL_EXTENSIONS)
    labels = _without_previews(labels, places.labels)
    if places.is_one_folder:
        ends = {name: _mask_end(name, images) for name in images}
        suffix = _most({name: end for name, end in ends.items() if end})
        labels = {name: files for name, files in labels.items() if ends[name] == suffix}
        images = {name: files for name, files in images.items() if name not in labels}
        return _paired(images, labels, "", suffix)
    if images.keys() & labels.keys():
        return _paired(images, labels, "", "")
    return _paired(images, labels, *_suffixes(images, labels, places.labels))


def _without_previews(labels: Mapping[str, list[Path]], folder: Path) -> dict[str, list[Path]]:
    """Leave out each GIF beside a label map of another format, and say so: it is a picture of that one."""
    kept = {
        name: [path for path in files if path.suffix.lower() != ".gif"] or files
        for name, files in labels.items()
    }
    left = sum(map(len, labels.values())) - sum(map(len, kept.values()))
    if left:
        _tell_previews(folder, left)
    return kept


@cache
def _tell_previews(folder: Path, count: int) -> None:
    """Say once what is left out."""
    logger.info("%s: GIF files beside label maps of the same names are left out, %d of them", folder, count)


def _mask_end(name: str, known: Mapping[str, list[Path]]) -> str:
    return next((end for end in MASK_SUFFIXES if name.endswith(end) and name.removesuffix(end) in known), "")


def _most(ends: Mapping[str, str]) -> str:
    counted = Counter(ends.values()).most_common(1)
    return counted[0][0] if counted else ""


def _suffixes(
    images: Mapping[str, list[Path]], labels: Mapping[str, list[Path]], folder: Path
) -> tuple[str, str]:
    """Find the suffixes of images and label maps by which most of them are paired."""
    counts: Counter[tuple[str, str]] = Counter()
    for image_end in ("", *_IMAGE_SUFFIXES):
        stems = {name.removesuffix(image_end) for name in images if name.endswith(image_end)}
        counts.update((image_end, end) for name in labels for stem, end in _cuts(name) if stem in stems)
    if not counts:
        return "", ""
    most = max(counts.values())
    best = [pair for pair, count in counts.items() if count == most]
    for word in _PREFERRED:
        chosen = [pair for pair in best if re.split(r"[_.\-]", pair[1])[-1] == word]
        if chosen:
            return chosen[0]
    ends = sorted({end for _, end in best})
    if len(ends) > 1:
        raise UserError(
            f"{folder} holds several files for each image, {', '.join(ends)}: leave those in it that have "
            "the class of each pixel, and move the others away"
        )
    return best[0]


def _cuts(name: str) -> Iterator[tuple[str, str]]:
    """Cut a name before each separator of its last part, the shortest end first."""
    start = name.rfind("/") + 1
    for match in reversed(list(re.finditer(r"[_.\-]", name[start:]))):
        at = start + match.start()
        if at > start:
            yield name[:at], name[at:]


def _paired(
    images: Mapping[str, list[Path]], labels: Mapping[str, list[Path]], image_end: str, label_end: str
) -> Pairing:
    known = {name.removesuffix(image_end): files for name, files in images.items()}
    maps = {name.removesuffix(label_end): files for name, files in labels.items() if name.endswith(label_end)}
    # Pictures of the classes for people, instances and the like, beside the label maps.
    others = {
        name
        for name in labels
        if label_end and not name.endswith(label_end) and any(stem in known for stem, _ in _cuts(name))
    }
    strays = {name: files for name, files in labels.items() if not name.endswith(label_end)}
    pairs = {name: (known[name][0], maps[name][0]) for name in sorted(known.keys() & maps.keys())}
    alone = [known[name][0] for name in sorted(known.keys() - maps.keys())]
    alone += [maps[name][0] for name in sorted(maps.keys() - known.keys())]
    alone += [files[0] for name, files in strays.items() if name not in others]
    doubles = [*_doubled(known.values()), *_doubled(maps.values())]
    return Pairing(pairs, tuple(alone), tuple(doubles), label_end)


def _doubled(groups: Iterable[list[Path]]) -> Iterator[tuple[Path, Path]]:
    for files in groups:
        yield from ((files[0], other) for other in files[1:])
