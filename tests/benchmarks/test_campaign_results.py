"""What is read of the campaign's files: scores, the best neck, corrected p values."""

from __future__ import annotations

import pytest

from benchmarks.campaign_results import best_neck, class_metric_of, contrast_of, holm, metric_of
from tests.benchmarks.made import row


def test_the_best_neck_is_picked_by_its_mean_on_masks_where_there_are_any() -> None:
    found = row(fpn=[1.0, 2.0], bifpn=[2.0, 2.0], control=[9.0, 9.0], mscsa=[3.0, 3.0])
    assert best_neck(found) == "bifpn"
    for arm, masks in (("fpn", 5.0), ("bifpn", 4.0), ("mscsa", 0.0)):
        found["arms"][arm]["other_scores"]["mask_ap"] = [masks, masks]
    assert metric_of(found) == "mask_ap" and best_neck(found) == "fpn"
    assert best_neck(row(baseline=[1.0], mscsa=[2.0])) is None


def test_a_difference_is_paired_by_seed() -> None:
    found = row(baseline=[40.0, 50.0, 60.0], mscsa=[41.0, 51.0, 61.0])
    assert contrast_of(found, "mscsa", "baseline").mean == pytest.approx(1.0)
    assert contrast_of(found, "baseline", "mscsa").mean == pytest.approx(-1.0)


def test_classes_have_the_score_of_the_protocol_where_the_file_has_it() -> None:
    found = row(baseline=[40.0], mscsa=[41.0])
    assert class_metric_of(found) is None
    found["arms"]["mscsa"]["class_scores"] = {"ap": [[40.0]]}
    found["arms"]["mscsa"]["other_scores"] = {"mask_ap": [30.0]}
    assert class_metric_of(found) == "ap"
    found["arms"]["mscsa"]["class_scores"]["mask_ap"] = [[30.0]]
    assert class_metric_of(found) == "mask_ap"


def test_p_values_are_corrected_for_their_number() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
