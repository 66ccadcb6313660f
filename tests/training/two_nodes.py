"""What torchrun starts in each process: a run into the folder that is named."""

import sys
from pathlib import Path

from mscsa.training.run import train
from tests.training.whole_runs.test_ddp import exact_recipe

if __name__ == "__main__":
    train(exact_recipe(), Path(sys.argv[1]))
