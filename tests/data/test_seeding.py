"""Seeding by key: a function of the key alone, and no trace left behind."""

import random

import numpy as np
import pytest
import torch

from mscsa.data.seeding import derive_seed, seeded


def draw():
    return (random.random(), float(np.random.rand()), float(torch.rand(())))


def test_draws_depend_on_the_key_alone():
    with seeded(1, 2, 3):
        first = draw()
    draw()
    with seeded(1, 2, 3):
        assert draw() == first


def test_any_part_of_the_key_changes_every_generator():
    with seeded(1, 2, 3):
        reference = draw()
    for key in [(0, 2, 3), (1, 1, 3), (1, 2, 4), (3, 2, 1), (1, 2), (1, 2, 3, 0), ("a", 1, 2, 3)]:
        with seeded(*key):
            assert not set(draw()) & set(reference), key


def test_previous_states_return_even_after_an_exception():
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    expected = draw(), draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    first = draw()
    with pytest.raises(KeyError), seeded(5):
        draw()
        raise KeyError
    assert (first, draw()) == expected


def test_seeds_spread_over_64_bits_and_do_not_add_up():
    seeds = {derive_seed(a, b) for a in range(64) for b in range(64)}
    assert len(seeds) == 64 * 64
    assert all(0 <= seed < 2**64 for seed in seeds)
    assert np.mean([seed / 2**64 for seed in seeds]) == pytest.approx(0.5, abs=0.02)
    assert derive_seed(1, 2) not in {derive_seed(2, 1), derive_seed(0, 3), derive_seed(1, 2, 0)}
    assert derive_seed(np.int64(7), 1) == derive_seed(7, 1)
    torch.Generator().manual_seed(max(seeds))


def test_seeds_are_the_same_in_every_process_and_release():
    # Checkpoints rely on it: a resumed run must go on in the order that it began with.
    assert derive_seed("order", 1, 2) == 15375554171472371088
