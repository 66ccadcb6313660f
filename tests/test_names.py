"""One grammar of names for registered and unregistered models."""

from __future__ import annotations

import pytest

from mscsa.names import both_arms, parse_model_name, split_tag
from tests.refusals import one_line_error


@pytest.mark.parametrize(
    ("name", "backbone", "without", "with_mscsa"),
    [
        ("resnet18", "resnet18", "resnet18", "mscsa_resnet18"),
        ("mscsa_resnet18", "resnet18", "resnet18", "mscsa_resnet18"),
        ("mscsa_resnet10t", "resnet10t", "resnet10t", "mscsa_resnet10t"),
        ("convnext_tiny.in12k", "convnext_tiny.in12k", "convnext_tiny.in12k", "mscsa_convnext_tiny.in12k"),
        ("mscsa_convnext_tiny.in12k", *("convnext_tiny.in12k",) * 2, "mscsa_convnext_tiny.in12k"),
        ("mscsa_coat_tiny", "coat_serial_tiny", "coat_tiny", "mscsa_coat_tiny"),
        ("mscsa_coat_tiny.in1k", "coat_serial_tiny.in1k", "coat_tiny.in1k", "mscsa_coat_tiny.in1k"),
        ("mscsa_coat_serial_tiny", "coat_serial_tiny", "coat_tiny", "mscsa_coat_tiny"),
        ("coat_tiny", "coat_tiny", "coat_tiny", "mscsa_coat_tiny"),
        ("coat_serial_tiny", "coat_serial_tiny", "coat_serial_tiny", "mscsa_coat_tiny"),
        ("local-dir:a/b.c", "local-dir:a/b.c", "local-dir:a/b.c", "mscsa_local-dir:a/b.c"),
    ],
)
def test_the_parts_of_a_name(name, backbone, without, with_mscsa):
    parsed = parse_model_name(name)
    assert parsed.tagged_backbone == backbone
    assert parsed.without_mscsa == without
    assert parsed.with_mscsa == with_mscsa
    assert parsed.has_mscsa == name.startswith("mscsa_")
    assert parse_model_name(parsed.with_mscsa).with_mscsa == with_mscsa


@pytest.mark.parametrize("name", ["coat_tiny", "mscsa_coat_tiny", "mscsa_coat_serial_tiny"])
def test_both_arms_whichever_is_given(name):
    assert both_arms(name) == ("coat_tiny", "mscsa_coat_tiny")


@pytest.mark.parametrize("given", [None, 3, ["resnet18"]])
def test_what_is_no_name_at_all(given):
    one_line_error(lambda: parse_model_name(given), "^.* given as the name of a model: give a timm name")


def test_a_tag_is_split_off_names_of_timm_alone() -> None:
    assert split_tag("resnet18") == ("resnet18", "")
    assert split_tag("resnet18.a1_in1k") == ("resnet18", "a1_in1k")
    assert split_tag("hf-hub:me/my.model") == ("hf-hub:me/my.model", "")
