"""Which keyword concerns what."""

from __future__ import annotations

import pytest

from mscsa.errors import UnknownKeyword, UserError
from mscsa.models.keywords import TimmKeywords, sort_keywords
from tests.refusals import one_line_error


def test_each_keyword_goes_where_it_belongs():
    given = {"depth": 2, "img_size": 64, "device": "meta", "bn_eps": None, "checkpoint_path": None}
    found = sort_keywords(given, {"depths": (1, 1)})
    assert found.mscsa == {"depth": 2}
    assert found.backbone == {"depths": (1, 1), "img_size": 64}
    assert found.timm == TimmKeywords(device="meta")


def test_a_name_of_both_is_mscsas_and_the_backbones_own_way_stays_open():
    found = sort_keywords({"num_heads": 4}, {"num_heads": (1, 2)})
    assert found.mscsa == {"num_heads": 4} and found.backbone == {"num_heads": (1, 2)}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"dept": 2}, "unknown keyword dept: did you mean depth"),
        ({"nonsense": 2}, "unknown keyword nonsense: MSCSAConfig has depth"),
        ({"neck": "fpn"}, r"unknown keyword neck: .* mscsa.models.build_pyramid\(name, neck=...\) builds"),
        ({"neck_config": {}}, "unknown keyword neck_config: the neck here is MSCSA"),
    ],
)
def test_what_concerns_nothing(given, message):
    with pytest.raises(UnknownKeyword, match=message):
        sort_keywords(given)


@pytest.mark.parametrize("key", ["pretrained", "num_classes", "global_pool", "device"])
def test_what_is_the_whole_models_is_not_the_backbones(key):
    with pytest.raises(UserError, match=f"backbone_kwargs has {key}: give it to create_model itself"):
        sort_keywords({}, {key: 1})


def test_a_kept_classifier_has_a_pooling_of_its_own():
    assert sort_keywords({}, {"global_pool": "max"}, keep_classifier=True).backbone == {"global_pool": "max"}


@pytest.mark.parametrize("form", ["dict", "hook", "fx"])
def test_other_forms_of_features(form):
    assert TimmKeywords(feature_cls="getter").feature_cls == "getter"
    with pytest.raises(UserError, match=f"feature_cls='{form}' given: MSCSA's pyramid is a list of maps"):
        sort_keywords({"feature_cls": form})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"pretrained_cfg": 3}, "^pretrained_cfg=3 given: give a tag, a mapping of entries, or timm's"),
        ({"pretrained_cfg_overlay": 3}, "^pretrained_cfg_overlay=3 given: give a mapping"),
        ({"pretrained_model_args": "x"}, "^pretrained_model_args='x' given: give a mapping"),
        (
            {"dtype": "float32"},
            "^dtype='float32' given: give a floating-point type of torch, such as torch.float32",
        ),
        ({"device": "gpu"}, "^device='gpu' given, where nothing can lie: "),
        ({"device": [1]}, r"^device=\[1\] given, where nothing can lie: "),
    ],
)
def test_values_that_timms_keywords_cannot_have(given, message):
    one_line_error(lambda: TimmKeywords(**given), message)
