"""matplotlib figures without a screen; it is imported when the first picture is drawn, not before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mscsa.errors import UserError, needs_extra


def new_figure(size: tuple[float, float]) -> Any:
    """Open a figure of (width, height) in inches that belongs to no window.

    Raises:
        UserError: If matplotlib is missing.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise _missing() from error
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Any, path: Path, *, dpi: int) -> None:
    """Write a figure as PNG, and its folder if there is none; no text of it is a formula.

    Raises:
        UserError: If it cannot be written.
    """
    from matplotlib import rc_context
    from matplotlib.text import Text

    # Names of files and classes are anyone's.
    for text in figure.findobj(Text):
        text.set_parse_math(False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with rc_context({"text.parse_math": False}):  # for labels of axes that are made as it is drawn
            figure.savefig(path, dpi=dpi)
    except OSError as error:
        raise cannot_write(path, error) from error


def label_font() -> str:
    """Find the font file that comes with matplotlib: Pillow's own small one has no sizes.

    Raises:
        UserError: If matplotlib is missing.
    """
    try:
        from matplotlib.font_manager import findfont
    except ModuleNotFoundError as error:
        raise _missing() from error
    return findfont("DejaVu Sans")


def cannot_write(path: Path, error: OSError) -> UserError:
    """Say that a picture cannot be written."""
    return UserError(f"cannot write {path}: {error.strerror}; give a folder that can be written")


def _missing() -> UserError:
    return needs_extra("the picture needs matplotlib, which is not installed", "train")
