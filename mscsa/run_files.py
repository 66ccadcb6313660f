"""What the files of a run's folder are called: by training, which writes them, and by all who read them."""

from __future__ import annotations

CONFIG = "config.yaml"
ENVIRONMENT = "environment.json"
RESULT = "result.json"
METRICS = "metrics.csv"
LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
"""The checkpoint before it, for when it is damaged."""
BEST = "best.safetensors"
LAST_WEIGHTS = "last.safetensors"
"""The model after the last step."""
KEPT = "kept"
"""Folder of the best evaluations' weights, in runs that keep more than one."""
LAST_IMAGES = "last_images.npz"
"""What the last evaluation counted of each image (`mscsa.evaluation.image_counts`)."""


def kept_name(step: int) -> str:
    """Name the file of weights of an evaluation after so many steps, in the folder `KEPT`."""
    return f"step_{step}.safetensors"
