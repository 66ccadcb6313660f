"""Files of weights that a run wrote and that are gone, or damaged, when it goes on."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscsa.checkpoints.reading import read_state_dict
from mscsa.errors import UserError
from mscsa.files import write_whole
from mscsa.run_files import BEST, LAST_WEIGHTS
from mscsa.training.run_folder import KEPT, kept_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LostWeights:
    """What is lost of a run's weights, and what is done about it."""

    folder: Path
    """Of the run."""
    names: tuple[str, ...] = ()
    """Files to be written by an evaluation; with `best.safetensors` the best evaluation so far is lost."""
    spare: Path | None = None
    """The same weights as those of a lost `best.safetensors`, among those that the run keeps."""

    def repeats(self, evaluated_step: int, resumed_step: int) -> bool:
        """Whether the last evaluation is done once more: where the weights still are those of it.

        Args:
            evaluated_step: Optimiser step of the last evaluation.
            resumed_step: Optimiser step of the checkpoint.
        """
        return bool(self.names) and evaluated_step == resumed_step

    def restore(self) -> None:
        """Copy what there is a copy of, and say what was lost."""
        if self.spare is not None:
            with self.spare.open("rb") as source:
                write_whole(self.folder / BEST, lambda file: shutil.copyfileobj(source, file))
            logger.warning("%s was damaged or missing: it is %s again", self.folder / BEST, self.spare.name)
        for name in self.names:
            counts = ", which counts as the best so far" if name == BEST else ""
            logger.warning(
                "%s is damaged or missing: the next evaluation writes it%s", self.folder / name, counts
            )


def find_lost(folder: Path, evaluated: Mapping[str, Any]) -> LostWeights:
    """Look for the files of weights that a checkpoint's evaluations wrote.

    Args:
        folder: Folder of the run.
        evaluated: What the checkpoint keeps of the evaluations.
    """
    best = evaluated["best"]
    if not best:
        return LostWeights(folder)
    names = [name for name in (BEST, LAST_WEIGHTS) if not _is_sound(folder / name)]
    spare = folder / KEPT / kept_name(best["step"])
    if BEST in names and _is_sound(spare):
        names.remove(BEST)
        return LostWeights(folder, tuple(names), spare)
    return LostWeights(folder, tuple(names))


def _is_sound(path: Path) -> bool:
    try:
        read_state_dict(path)
    except UserError:
        return False
    return True
