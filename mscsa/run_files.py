"""What the files of a run, or of a comparison, are called: by what writes them, and by all who read them."""

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
LAST_IMAGES = "last_images.npz"
"""What the last evaluation counted of each image (`mscsa.evaluation.image_counts`)."""
COMPARISON = "compare.json"
"""What `mscsa compare` writes into its folder."""
