# %% [markdown]
# # Compare, and read the verdict
#
# A comparison that was run (six seeds of three arms, the README's quickstart) and is in the repository;
# then a tiny one, to see that the same command makes the same file.

# %%
import json
from pathlib import Path
from statistics import mean

root = next(folder for folder in (Path.cwd(), *Path.cwd().parents) if (folder / "benchmarks").is_dir())
result = json.loads((root / "benchmarks/results/quickstart.json").read_text())
for arm, values in result["arms"].items():
    print(f"{arm:10} {mean(values['scores']):.2f}  ", " ".join(f"{score:.1f}" for score in values["scores"]))

# %% [markdown]
# Every seed is a pair: both arms saw the same batches in the same order. So what counts is the difference
# of each seed, its interval by bootstrap (BCa), and an exact sign-flip test, which must agree.

# %%
from mscsa.compare.statistics import paired_statistics

of, against = (result["arms"][arm]["scores"] for arm in ("mscsa", "baseline"))
statistics = paired_statistics([a - b for a, b in zip(of, against, strict=True)])
statistics

# %%
for each in result["comparisons"]:
    print(each["verdict"], end="\n\n")

# %% [markdown]
# ## A tiny run
#
# One seed and two steps: as many as show that it works, and the verdict says that it is none.

# %%
import os
import subprocess
import sys
import tempfile

out = Path(tempfile.mkdtemp()) / "tiny"
command = (
    "compare scenes/mscsa_resnet10t --seeds 1 --jobs 1 --no-latency --run.max_steps 2 --data.num_val 64 --out"
)
environment = {**os.environ, "PYTHONPATH": str(root)}
done = subprocess.run(
    [sys.executable, "-m", "mscsa_cli", *command.split(), str(out)],
    capture_output=True,
    text=True,
    env=environment,
)
assert done.returncode == 0, done.stderr
tiny = json.loads((out / "compare.json").read_text())
print(tiny["comparisons"][0]["verdict"])

# %% [markdown]
# What it wrote; the same command again goes on where it stopped, with more `--seeds` it adds runs.

# %%
sorted(path.name for path in out.iterdir())
