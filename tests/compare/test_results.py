"""What the numbers of a comparison allow to say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mscsa.compare.results import ARM_NAMES, CompareResult, pairs_of, verdict
from tests.compare.made import BASE, result

GAINS = (0.4, 1.1, 0.7, 2.0, 0.9, 1.5)


def shifted(by: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a + b for a, b in zip(BASE, by, strict=True))


def main_verdict(compared: CompareResult) -> str:
    return verdict(compared, compared.contrasts[0])


def changed(compared: CompareResult, **seeds: object) -> CompareResult:
    """The same with other statistics of the first pair."""
    first, *others = compared.contrasts
    return replace(compared, contrasts=(replace(first, seeds=replace(first.seeds, **seeds)), *others))  # type: ignore[arg-type]


def test_a_gain_and_a_loss_with_all_their_numbers() -> None:
    said = main_verdict(result(BASE, shifted(GAINS)))
    assert said.startswith("MSCSA is better than its baseline here: +1.10 points, 95 % interval +0.")
    assert "p = 0.031 over 6 seeds" in said and said.endswith("+0.10 to +3.00 over 2000 test images.")
    loss = result(shifted(GAINS), BASE, image_interval=(-3.0, -0.1))
    assert main_verdict(loss).startswith("MSCSA is worse than its baseline here: -1.10 points")


def test_a_gain_on_these_images_alone_says_so() -> None:
    said = main_verdict(result(BASE, shifted(GAINS), image_interval=(-0.1, 2.3)))
    assert said.startswith(
        "MSCSA is better than its baseline on these test images; on others it may not hold:"
    )


def test_where_one_of_the_two_disagrees_there_is_no_clear_difference() -> None:
    clear = result(BASE, shifted(GAINS))
    test_alone = main_verdict(changed(clear, interval=(-0.1, 2.0)))
    assert (
        test_alone.startswith("No clear difference")
        and "but the interval over seeds includes 0" in test_alone
    )
    interval_alone = main_verdict(changed(clear, p=0.06))
    assert interval_alone.startswith("No clear difference")
    assert "but the sign-flip test does not reach 5 %" in interval_alone
    neither = main_verdict(changed(clear, p=0.5, interval=(-1.0, 1.0)))
    assert (
        "No clear difference between MSCSA and its baseline, it is within the spread of the seeds" in neither
    )


def test_identical_differences_are_no_verdict() -> None:
    said = main_verdict(result(BASE, shifted((1.0,) * 6)))
    assert said.startswith("No clear difference") and "leaves no spread to judge by" in said


@pytest.mark.parametrize(
    ("count", "least"), [(1, "one seed cannot .* p 1 "), (3, "3 seeds cannot .* p 0.25 ")]
)
def test_few_seeds_cannot_reach_five_percent(count: int, least: str) -> None:
    said = main_verdict(result(BASE[:count], shifted((5.0, 5.1, 5.2, 0, 0, 0))[:count]))
    assert said.startswith("No verdict on MSCSA against its baseline")
    words = least.split(" .* ")
    assert all(part in said for part in words) and "give --seeds 6 or more" in said


def test_the_control_is_judged_alike() -> None:
    compared = result(BASE, shifted(GAINS), shifted(tuple(2 * each for each in GAINS)))
    assert [(each.first, each.second) for each in compared.contrasts] == [
        ("mscsa", "baseline"),
        ("mscsa", "control"),
        ("control", "baseline"),
    ]
    said = [verdict(compared, each) for each in compared.contrasts]
    assert said[1].startswith("MSCSA is worse than the control of the same MACs")
    assert said[2].startswith("The control of the same MACs is better than its baseline")


def test_each_neck_is_compared_with_mscsa_and_with_the_baseline() -> None:
    necks = {"fpn": shifted((0.0,) * 6), "topformer": shifted(tuple(2 * each for each in GAINS))}
    compared = result(BASE, shifted(GAINS), BASE, necks=necks)
    assert list(compared.arms) == [arm for arm in ARM_NAMES if arm in compared.arms]
    pairs = [(each.first, each.second) for each in compared.contrasts]
    assert (
        pairs
        == pairs_of(compared.arms)
        == [
            *[("mscsa", arm) for arm in ("baseline", "control", "fpn", "topformer")],
            *[(arm, "baseline") for arm in ("control", "fpn", "topformer")],
        ]
    )
    said = {pair: verdict(compared, each) for pair, each in zip(pairs, compared.contrasts, strict=True)}
    assert said["mscsa", "fpn"].startswith("MSCSA is better than FPN of the same MACs here")
    assert said["mscsa", "topformer"].startswith("MSCSA is worse than TopFormer of the same MACs")
    assert said["topformer", "baseline"].startswith("TopFormer of the same MACs is better than its baseline")
