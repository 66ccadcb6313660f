"""What every network that finds objects is, and what is asked about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from mscsa.detection.fpn import BatchImages
from mscsa.errors import UserError
from mscsa.graphs import Graphs, Size

_SURE = 30.0  # as the bias of a logit it outweighs all others


class Network(nn.Module):
    """A network that finds objects, by torchvision's contract: what the function of a detector's row gives.

    It maps a list of images and, in training, of targets to a dict of losses or a list of detections; what
    `Detector` promises beside that (labels from 1 on, pasted masks, checks) is not its business. Where
    another library has the network, this class stands before it: `class Ours(Network, Theirs)`. All that is
    asked of a kind of detector is asked here; nobody looks at its class.
    """

    first_label: int
    """Its own number of the first class."""
    body: str
    """Where the pyramid is in it."""
    of_classes: tuple[str, ...]
    """Last part of the names of the layers that there is one of, or a channel of, for each class."""
    slow: tuple[str, ...] = ()
    """Parts of the head's parameters' names that learn at the backbone's rate, as in the public settings."""
    transform: BatchImages
    """What normalises images and pads them into a batch."""
    detections_per_img: int
    """Most objects that it gives for an image."""
    loss_count: Tensor | None = None
    """What the last losses were divided by, where it is a count over the batch, the mean over all processes,
    (); None where losses are means over a fixed number of boxes of each image."""
    chosen_widths: Mapping[str, int] = MappingProxyType({})
    """Widths that it chose where an option that makes it wider (`Head.wider`) is None: option -> width."""
    counted_as: ClassVar[str] = ""
    """A sentence on what `run_fixed` runs; "" where it is all that a detection takes."""

    def run_fixed(self, images: Tensor) -> None:
        """Run on images with a workload that depends on neither weights nor images, to count it.

        It runs whole, unless a kind of network says otherwise.

        Args:
            images: (B, 3, H, W), perhaps on the meta device.
        """
        self(list(images))

    def fix_workload(self, num_objects: int) -> None:
        """Do the same work for any image from now on, whatever the weights, to time it; it spoils detections.

        Nothing is to be done, unless a kind of network says otherwise.

        Args:
            num_objects: Of each training image.
        """

    def graphs(self, size: Size) -> Graphs:
        """Give the graphs that it is exported as, for images of (H, W).

        Raises:
            UserError: If this kind of network has none.
        """
        raise UserError(
            f"a {type(self).__name__} is not exported: give a detector of another kind, or export the maps "
            "under it (--maps)"
        )


def make_sure(layer: Any, index: int) -> None:
    """Make one logit of a layer outweigh all others, wherever it looks: for `fix_workload`."""
    with torch.no_grad():
        layer.bias[index] = _SURE
