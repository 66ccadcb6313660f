"""Randomness as a function of a key: the same sample draws the same numbers in any process.

Augmentation code (timm's, torchvision's) draws from the global generators of python, numpy and
torch. Seeding them per sample, and restoring them after it, makes what a sample looks like depend
on its key alone, so that a resumed run, or one with another number of loader workers or processes,
sees the same images.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def derive_seed(*key: int | str) -> int:
    """Hash a key to a seed in [0, 2^64).

    Strings name a stream (`derive_seed("order", seed, epoch)`), so that two uses of the same
    numbers stay independent. Numpy's `SeedSequence` is not used for this: it pads with zeros, so
    that the keys (1, 2) and (1, 2, 0) would draw the same numbers.
    """
    canonical = repr(tuple(part if isinstance(part, str) else int(part) for part in key))
    return int.from_bytes(hashlib.blake2b(canonical.encode(), digest_size=8).digest(), "little")


@contextmanager
def seeded(*key: int | str) -> Iterator[None]:
    """Seed python's `random`, numpy's and torch's CPU generator from a key; restore them on exit."""
    python_state = random.getstate()
    numpy_state = np.random.get_state()
    torch_state = torch.get_rng_state()
    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed([seed & 0xFFFFFFFF, seed >> 32])
    # Not torch.manual_seed: it would seed the accelerators too, whose state is not restored here.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)
