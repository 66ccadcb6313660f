"""What an exported detector finds, in the form in which detections are drawn and written."""

from __future__ import annotations

import numpy as np
from PIL import Image

from mscsa.data.coco.masks import encode_masks
from mscsa.evaluation.detections import Detections
from mscsa_runtime.artifact import Artifact
from mscsa_runtime.predictions import detect


def find_detections(artifact: Artifact, image: Image.Image) -> Detections:
    """Find the objects in an RGB image.

    Raises:
        ArtifactError: If the model is no detector.
        UserError: If masks are to be written and faster-coco-eval is not installed.
    """
    found = detect(artifact, image)
    masks = None
    if found.cells is not None:
        # One at a time: a hundred masks of a large photograph would be gigabytes.
        masks = tuple(encode_masks(np.array([found.mask(i)]))[0] for i in range(len(found.boxes)))
    return Detections(found.boxes, found.labels, found.scores, masks)
