"""The card says what is known, and unknown of what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]

from mscsa.assembly import read_info
from mscsa.assembly.weights_file import WeightsInfo
from mscsa.hub.card import CardFacts, backbone_licence, write_card
from mscsa.hub.comparison import Matched


@pytest.fixture
def facts(classifier_run: Path) -> CardFacts:
    return CardFacts(
        title="digits",
        repository="me/digits",
        info=read_info(classifier_run),
        parameters=460_000,
        macs=5_000_000,
        in_timm=True,
        comparison=None,
        license=None,
    )


def metadata(card: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.split("---")[1])
    return found


def test_what_the_hub_reads(facts: CardFacts) -> None:
    said = metadata(write_card(replace(facts, license="mit")))
    assert said["library_name"] == "timm" and said["license"] == "mit"
    assert said["pipeline_tag"] == "image-classification" and "mscsa" in said["tags"]
    (result,) = said["model-index"][0]["results"]
    values = {each["type"]: each["value"] for each in result["metrics"]}
    assert values == {"top1": 61.5, "top5": 90.0, "loss": 1.25}


def test_unknown_is_said(facts: CardFacts) -> None:
    card = write_card(replace(facts, info=replace(facts.info, provenance={})))
    assert "license" not in metadata(card) and "model-index" not in metadata(card)
    assert "This model: unknown" in card and "started from: unknown." in card
    assert "Unknown: the file of weights does not say" in card and "Unknown: no matched comparison" in card


def test_scores_cost_and_use(facts: CardFacts) -> None:
    card = write_card(facts)
    assert "| top-1 | 61.50 % |" in card and "On 9 images, after epoch 2, one seed." in card
    assert "0.46 M parameters, 0.005 G multiply-adds for an image of 32x32 px" in card
    assert 'name = "hf-hub:me/digits"' in card and "mscsa pull hf-hub:me/digits --out model" in card


def test_a_comparison_stands_with_its_interval(facts: CardFacts) -> None:
    matched = Matched(
        arms=["| net | 72.50 |", "| mscsa_net | 74.50 |"],
        verdicts=["MSCSA is better than its baseline here: +2.00 points."],
        seeds=6,
        test_images=2000,
        score="top1",
    )
    card = write_card(replace(facts, comparison=matched))
    assert "| mscsa_net | 74.50 |\n\nThe same recipe and the same 6 seeds" in card
    assert "* MSCSA is better than its baseline here: +2.00 points." in card
    assert "not compared" not in card


def test_many_classes_are_counted(facts: CardFacts) -> None:
    names = tuple(f"class{i}" for i in range(33))
    card = write_card(replace(facts, info=replace(facts.info, class_names=names)))
    assert "33 classes: class0, " in card and "class19 and 13 more." in card


STARTS = {
    "timm": (
        {"name": "mscsa_resnet50.a1_in1k", "pretrained": True, "checkpoint": None},
        "apache-2.0 (`resnet50.a1_in1k` of timm, as timm says)",
    ),
    "not commercial": (
        {"name": "convnextv2_nano.fcmae_ft_in1k", "pretrained": True, "checkpoint": None},
        "cc-by-nc-4.0 (`convnextv2_nano.fcmae_ft_in1k` of timm, as timm says)",
    ),
    "not in timm": ({"name": "p2t_tiny", "pretrained": True}, "unknown (`p2t_tiny` of timm, as timm says)"),
    "file": ({"name": "resnet50", "pretrained": True, "checkpoint": "x.pth"}, "unknown, they are of a file"),
    "scratch": ({"name": "resnet50", "pretrained": False}, "none, training began with random weights"),
}


@pytest.mark.parametrize("case", STARTS)
def test_the_licence_of_the_first_weights(facts: CardFacts, case: str) -> None:
    model, expected = STARTS[case]
    info: WeightsInfo = replace(facts.info, provenance={"recipe": {"model": model}})
    assert backbone_licence(info).startswith(expected)
