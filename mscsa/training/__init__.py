"""Training by Lightning: the only package that imports it.

`run.train` is the way in; `module` is the model's side of a step, `objectives` what it minimises,
`callbacks` and `checkpointing` are what makes a run resumable. What is named here is for users of the
library; its own code imports a name from the module that defines it.
"""

from mscsa import errors as _errors

try:
    import lightning.pytorch as _lightning  # noqa: F401
except ModuleNotFoundError as error:
    raise _errors.needs_extra("training needs lightning, which is not installed", "train") from error

from mscsa.signals import Interrupted as Interrupted
from mscsa.training.module import NonFiniteError as NonFiniteError
from mscsa.training.processes import ProcessLost as ProcessLost
from mscsa.training.result import RunResult as RunResult
from mscsa.training.run import train as train
