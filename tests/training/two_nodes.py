"""What torchrun starts in each process: `python -m torch.distributed.run ... -m tests.training.two_nodes FOLDER`."""

import sys
from pathlib import Path

from mscsa.training.run import train
from tests.training.whole_runs.test_ddp import exact_recipe

if __name__ == "__main__":
    train(exact_recipe(), Path(sys.argv[1]))
