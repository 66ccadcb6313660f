"""Training by Lightning: the only package that imports it.

`run.train` is the way in; `module` is the model's side of a step, `objectives` what it minimises,
`callbacks` and `checkpointing` are what makes a run resumable.
"""

from mscsa.errors import UserError

try:
    import lightning.pytorch as _lightning  # noqa: F401
except ModuleNotFoundError as error:
    raise UserError(
        "training needs lightning, which is not installed; run: pip install mscsa[train]"
    ) from error

from mscsa.training.interrupt import Interrupted
from mscsa.training.module import NonFiniteError
from mscsa.training.run import RunResult, train

__all__ = ["Interrupted", "NonFiniteError", "RunResult", "train"]
