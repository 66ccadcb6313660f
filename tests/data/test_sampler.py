"""Order of samples: any start gives the tail, any number of processes the same batches."""

import pytest

from mscsa.data.sampler import EvalSampler, ResumableBatchSampler, SampleKey
from mscsa.errors import UserError


def epochs(count, *args, **kwargs):
    sampler = ResumableBatchSampler(*args, **kwargs)
    return [list(sampler) for _ in range(count)]


def test_an_epoch_is_a_permutation_without_the_rest():
    (epoch,) = epochs(1, 103, 10, seed=0)
    keys = [key for batch in epoch for key in batch]
    assert len(epoch) == 10 and all(len(batch) == 10 for batch in epoch)
    assert len({key.index for key in keys}) == 100
    assert {key.index for key in keys} <= set(range(103))
    assert [key.position for key in keys] == list(range(100))
    assert all(isinstance(key, SampleKey) and key.epoch == 0 for key in keys)


def test_order_is_a_function_of_seed_and_epoch():
    first, second = epochs(2, 50, 10, seed=0)
    assert [first, second] == epochs(2, 50, 10, seed=0)
    assert epochs(1, 50, 10, seed=0, start_epoch=1) == [second]
    orders = [[key.index for batch in epoch for key in batch] for epoch in (first, second)]
    orders.append([key.index for batch in epochs(1, 50, 10, seed=1)[0] for key in batch])
    # Epoch 1 of seed 0 is not epoch 0 of seed 1, as it would be if the two were added up.
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("start", [0, 1, 5, 9])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_start_in_mid_epoch_gives_exactly_the_tail_and_then_whole_epochs(start, repeats):
    full = epochs(4, 103, 10, seed=4, repeats=repeats)
    resumed = ResumableBatchSampler(103, 10, seed=4, repeats=repeats, start_epoch=2, start_batch=start)
    assert len(resumed) == 10
    assert list(resumed) == full[2][start:]
    assert list(resumed) == full[3]


def test_iter_alone_does_not_use_up_an_epoch():
    """A DataLoader with workers calls iter twice and reads from the second."""
    sampler = ResumableBatchSampler(20, 10, seed=0)
    iter(sampler)
    assert next(iter(sampler))[0].epoch == 0
    assert next(iter(sampler))[0].epoch == 1


@pytest.mark.parametrize("world_size", [2, 3, 4])
@pytest.mark.parametrize("repeats", [1, 3])
def test_processes_share_the_batch_that_one_process_sees(world_size, repeats):
    alone = epochs(2, 100, 24, seed=1, repeats=repeats)
    ranks = [
        epochs(2, 100, 24, seed=1, repeats=repeats, rank=rank, world_size=world_size)
        for rank in range(world_size)
    ]
    for epoch in range(2):
        for batch, expected in enumerate(alone[epoch]):
            shares = [rank[epoch][batch] for rank in ranks]
            assert {len(share) for share in shares} == {24 // world_size}
            assert sorted(key for share in shares for key in share) == expected


@pytest.mark.parametrize("world_size", [1, 2])
def test_accumulated_batches_make_the_same_steps(world_size):
    (alone,) = epochs(1, 70, 24, seed=1)
    ranks = [
        epochs(1, 70, 24, seed=1, rank=rank, world_size=world_size, accumulate=3)[0]
        for rank in range(world_size)
    ]
    assert all(len(rank) == 3 * len(alone) for rank in ranks)
    for step, expected in enumerate(alone):
        parts = [batch for rank in ranks for batch in rank[3 * step : 3 * step + 3]]
        assert sorted(key for part in parts for key in part) == expected


def test_repeats_follow_each_other_and_keep_the_length_of_an_epoch():
    (epoch,) = epochs(1, 100, 10, seed=0, repeats=3)
    keys = [key for batch in epoch for key in batch]
    assert len(keys) == 100
    assert len({key.index for key in keys}) == 34  # ceil(100 / 3)
    assert len({key.position for key in keys}) == 100
    for first in range(0, 99, 3):
        assert len({key.index for key in keys[first : first + 3]}) == 1


def test_repeats_of_an_image_fall_to_different_processes():
    (share,) = epochs(1, 96, 24, seed=0, repeats=3, rank=1, world_size=3)
    indices = [key.index for batch in share for key in batch]
    assert len(set(indices)) == len(indices)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ({"num_samples": 7}, "7 images, fewer than one batch of 8.*at most 7"),
        ({"num_samples": 0}, "0 images, fewer than one batch of 8"),
        ({"world_size": 3}, "batch_size 8 does not divide over 3 process.*multiple of 3"),
        ({"accumulate": 3}, "batch_size 8 does not divide.*multiple of 3"),
        ({"world_size": 2, "accumulate": 8}, "give a multiple of 16"),
        ({"batch_size": 0}, "batch_size 0"),
        ({"repeats": 0}, "repeats 0"),
        ({"accumulate": 0}, "accumulate 0"),
    ],
)
def test_what_does_not_fit_is_one_clear_line(arguments, line):
    with pytest.raises(UserError, match=line) as caught:
        ResumableBatchSampler(**({"num_samples": 100, "batch_size": 8, "seed": 0} | arguments))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("start", [{"start_batch": 10}, {"start_batch": -1}, {"start_epoch": -1}])
def test_a_start_outside_the_epoch_is_refused(start):
    with pytest.raises(ValueError, match=r"batch in \[0, 10\)"):
        ResumableBatchSampler(100, 10, seed=0, **start)


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("num_samples", [1, 3, 7, 8, 101])
def test_evaluation_takes_each_sample_once(num_samples, world_size):
    shares = [EvalSampler(num_samples, rank, world_size) for rank in range(world_size)]
    assert sorted(index for share in shares for index in share) == list(range(num_samples))
    assert all(len(list(share)) == len(share) for share in shares)


@pytest.mark.parametrize(("rank", "world_size"), [(2, 2), (-1, 2), (0, 0)])
def test_a_rank_outside_the_world_is_refused(rank, world_size):
    with pytest.raises(ValueError, match="rank must be in"):
        EvalSampler(10, rank, world_size)
    with pytest.raises(ValueError, match="rank must be in"):
        ResumableBatchSampler(10, 2, seed=0, rank=rank, world_size=world_size)
