"""Building by name and on built backbones: names, keywords, what is refused."""

import pytest
import timm
import torch
from timm.models import save_for_hf
from timm.models._input import get_model_input_config

import mscsa
from mscsa.attention import MSCSAConfig
from mscsa.detection import build_detector
from mscsa.errors import UserError
from mscsa.models.build import build_pyramid, create_model
from mscsa.segmentation import build_segmenter
from tests.refusals import one_line_error

LIGHT = MSCSAConfig(num_heads=2, head_dim=8, squeeze_ratio=0.25)


@pytest.fixture
def on_meta():
    """Build without data."""
    with torch.device("meta"):
        yield


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="resnet19"), r"no model is called 'resnet19': did you mean .*resnet18"),
        (dict(name="qqqqqqqq"), r"no model is called 'qqqqqqqq': `mscsa list` shows all names"),
        (dict(name="vit_tiny_patch16_224"), "the backbone vit_tiny_patch16_224 has maps at strides"),
        (dict(name="resnet10t", nun_heads=2), "unknown keyword nun_heads: did you mean num_heads"),
        (dict(name="resnet10t", qqq=2), "unknown keyword qqq: MSCSAConfig has depth, .*backbone_kwargs"),
        (dict(name="resnet10t", config=LIGHT, budget=0.1), "both config and budget given"),
        (dict(name="resnet10t", budget=0), "budget=0 given: give the share of the backbone's MACs"),
        (dict(name="resnet10t", budget=-0.1), "budget=-0.1 given"),
        (dict(name="resnet10t", budget=15), "budget=15 given"),
        (dict(name="resnet10t", budget=float("nan")), "budget=nan given"),
        (dict(name="resnet10t", backbone_kwargs={"nonsense": 1}), "does not take {.*'nonsense': 1"),
        (
            dict(name="resnet10t", backbone_kwargs={"output_stride": 4}),
            "cannot be built with {.*'output_stride': 4.*}: AssertionError; give other values",
        ),
        (dict(name="resnet10t", act_layer="gelux"), "cannot be built with {.*'gelux'.*}: KeyError 'gelux'"),
        (dict(name="resnet10t", config=LIGHT, dtype=torch.int8), "dtype=torch.int8 given: give a floating"),
        (dict(name="hf_hub:timm/no_such_model"), "cannot be downloaded"),
        (dict(name="resnet10t", config=LIGHT, features_only=True, out_indices=(7,)), "the levels are"),
        (dict(name="resnet10t", budget="0.1"), "budget='0.1' given"),
        (dict(name="resnet10t", budget=0.1, budget_size=(64,)), r"budget_size=\(64,\) given: give the side"),
        (dict(name="resnet10t", budget=0.1, budget_size=(64, 64, 3)), "budget_size="),
        (dict(name="resnet10t", in_chans=0), "in_chans=0 given"),
        (dict(name="resnet10t", config=LIGHT, num_classes=True), "num_classes=True given"),
        (dict(name="resnet10t", backbone_kwargs=[1]), r"backbone_kwargs=\[1\] given: give a mapping"),
        (dict(name="resnet10t", config=LIGHT, features_only=True, global_pool="max"), "pools nothing"),
        (dict(name=None), "^None given as the name of a model: give a timm name"),
        (dict(name=3), "^3 given as the name of a model"),
        (dict(name="resnet10t", drop_path_rate="x"), "^drop_path_rate='x' given: give a number"),
        (
            dict(name="resnet10t", config=LIGHT, drop_rate="x"),
            "^drop_rate='x' given: give a number from 0 to 1",
        ),
        (dict(name="resnet10t", config=LIGHT, drop_rate=2), "^drop_rate=2 given"),
        (dict(name="p2t_tiny", pretrained=True), "^no pretrained weights are named for p2t_tiny: start from"),
        (dict(name="mscsa_coat_tiny", pretrained=True), "weights are named for coat_serial_tiny: start"),
        (dict(name="mscsa"), "has MSCSA already: name a plain backbone"),
        (dict(name="mscsa_mscsa_resnet18"), "has MSCSA already"),
    ],
)
def test_refused_in_one_line(arguments, message):
    with pytest.raises(mscsa.UserError, match=message) as caught:
        create_model(**arguments)
    assert "\n" not in str(caught.value)


def test_a_saved_model_is_no_backbone(tmp_path):
    save_for_hf(create_model("resnet10t", config=LIGHT, num_classes=7), str(tmp_path))
    for build in (create_model, build_pyramid):
        with pytest.raises(UserError, match=r"has MSCSA already: .* is loaded by timm.create_model"):
            build(f"local-dir:{tmp_path}", pretrained=True)
    assert timm.create_model(f"local-dir:{tmp_path}", pretrained=True).num_classes == 7


@pytest.mark.usefixtures("on_meta")
def test_a_configuration_by_the_names_of_its_fields():
    given = {"head_dim": 4, "squeeze_ratio": 0.25}
    assert create_model("resnet10t", config=given).mscsa.config == mscsa.MSCSAConfig(**given)
    with pytest.raises(ValueError, match="config names hed_dim"):
        create_model("resnet10t", config={"hed_dim": 4})


@pytest.mark.usefixtures("on_meta")
def test_backbone_kwargs_reach_the_backbone():
    model = create_model("pvt_v2_b0", backbone_kwargs={"depths": (1, 1, 1, 1)}, depth=2)
    assert len(model.backbone.stages[0].blocks) == 1 and len(model.mscsa.blocks) == 2


def test_what_create_model_sets_itself_is_no_argument_of_the_backbone():
    with pytest.raises(UserError, match="backbone_kwargs has in_chans: give it to create_model itself"):
        mscsa.create_model("test_resnet", backbone_kwargs={"in_chans": 4})


def test_a_pyramid_without_a_fused_level_is_refused():
    with pytest.raises(UserError, match=r"out_indices=\(0,\) asks for levels that MSCSA leaves as they are"):
        mscsa.create_model("resnet10t", features_only=True, out_indices=(0,))


@pytest.mark.parametrize("backbone", ["resnet18", "resnet10t", "coat_serial_tiny"])
@pytest.mark.usefixtures("on_meta")
def test_the_prefix_means_one_thing(backbone):
    """Registered or not: `mscsa_X` is X with MSCSA, and X given to `create_model` too."""
    prefixed, bare = create_model(f"mscsa_{backbone}"), create_model(backbone)
    assert prefixed.mscsa.config == bare.mscsa.config
    assert prefixed.state_dict().keys() == bare.state_dict().keys()
    assert prefixed.pretrained_cfg == bare.pretrained_cfg


@pytest.mark.slow
@pytest.mark.usefixtures("on_meta")
def test_coat_by_its_own_name_keeps_its_parallel_blocks():
    in_place, beside = create_model("mscsa_coat_tiny"), create_model("coat_tiny")
    assert not any("parallel_blocks" in name for name, _ in in_place.named_parameters())
    assert any("parallel_blocks" in name for name, _ in beside.named_parameters())
    assert in_place.pretrained_cfg["architecture"] == "mscsa_coat_tiny"
    assert beside.pretrained_cfg["architecture"] == "mscsa"


@pytest.mark.parametrize("build", [create_model, timm.create_model], ids=["mscsa", "timm"])
def test_usual_keywords_of_timm(build):
    name = "mscsa_swin_tiny_patch4_window7_224"
    with torch.device("meta"):
        model = build(name, img_size=(256, 192), window_size=8, num_classes=0, global_pool="")
        assert get_model_input_config(model)["input_size"] == (3, 256, 192)
        assert model(torch.rand(1, 3, 256, 192)).shape == (1, model.num_features, 8, 6)
        dilated = build("mscsa_resnet18", output_stride=8, features_only=True, feature_cls="getter")
        assert dilated.feature_info.reduction() == [2, 4, 8, 8, 8]
        assert (
            build("mscsa_resnet18", global_pool="avg", drop_block_rate=None, bn_eps=None).num_classes == 1000
        )


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(not_a_keyword=1), "unknown keyword not_a_keyword"),
        (dict(window_size=8), "the backbone resnet18 does not take {'window_size': 8}"),
        (dict(drop_path_rate=0.1, backbone_kwargs={"nonsense": 1}), "does not take {.*'nonsense': 1"),
    ],
)
def test_an_unknown_keyword_is_a_type_error_too(keywords, message):
    for error in (TypeError, UserError):
        with pytest.raises(error, match=message):
            timm.create_model("mscsa_resnet18", **keywords)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        (dict(feature_cls="dict", features_only=True), "feature_cls='dict' given: MSCSA's pyramid is a list"),
        (dict(global_pool="max"), "global_pool='max' given with num_classes=1000"),
        (dict(global_pool=""), "global_pool='' given with num_classes=1000: .* num_classes=0"),
        (dict(out_indices=(1, 2)), r"out_indices=\(1, 2\) given for a classifier: .* features_only=True"),
        (dict(num_classes="ten"), "num_classes='ten' given: give 1 or more"),
    ],
)
def test_keywords_that_mean_nothing_here(keywords, message):
    with pytest.raises(UserError, match=message) as caught:
        timm.create_model("mscsa_resnet18", **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("on_meta")
def test_a_backbone_without_stochastic_depth():
    """0 is what it has, so that a matched baseline can be told; more is refused."""
    assert create_model("densenet121", drop_path_rate=0.0, config=LIGHT).mscsa.config.drop_path_rate == 0.0
    assert create_model("densenet121", config=LIGHT).mscsa.config.drop_path_rate == 0.0
    with pytest.raises(UserError, match="densenet121 does not take {'drop_path_rate': 0.1}"):
        create_model("densenet121", drop_path_rate=0.1, config=LIGHT)


def test_mscsa_on_a_model_that_is_built_already():
    torch.manual_seed(0)
    backbone = timm.create_model("resnet10t", num_classes=7).double()
    own = {name: value.clone() for name, value in backbone.state_dict().items()}
    model = mscsa.add_to(backbone, config=LIGHT, depth=2)
    assert model.backbone is backbone and model.num_classes == 7 and len(model.mscsa.blocks) == 2
    assert {p.dtype for p in model.parameters()} == {torch.float64}
    assert all(torch.equal(own[name], value) for name, value in model.backbone.state_dict().items())
    assert model.pretrained_cfg["mean"] == backbone.pretrained_cfg["mean"]
    model(torch.rand(2, 3, 64, 64).double()).sum().backward()
    assert model.training and not mscsa.add_to(timm.create_model("resnet10t").eval(), config=LIGHT).training


def test_adding_chooses_as_building_by_name_does():
    for name in ("resnet18", "resnet10t"):
        for form in ({"features_only": True, "out_indices": (2, 3)}, {}):
            added = mscsa.add_to(timm.create_model(name), **form)
            assert added.mscsa.config == create_model(name, **form).mscsa.config
    budget = dict(budget=0.2, budget_size=64, pool_stride=8)
    assert (
        mscsa.add_to(timm.create_model("resnet10t"), **budget).mscsa.config
        == create_model("resnet10t", **budget).mscsa.config
    )


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: timm.create_model("vit_tiny_patch16_224"), "VisionTransformer|vit_tiny_patch16_224"),
        (lambda: timm.create_model("resnet10t", features_only=True), "gives no feature pyramid"),
        (
            lambda: create_model("resnet10t", config=LIGHT),
            "MSCSA already: give the timm model itself",
        ),
        (lambda: build_pyramid("resnet10t"), "a BackbonePyramid given as the backbone, which is a pyramid"),
        (lambda: torch.nn.Linear(2, 2), "the backbone Linear gives no feature pyramid"),
        (lambda: torch.compile(timm.create_model("resnet10t")), "a compiled backbone given: add MSCSA to"),
    ],
    ids=["vit", "features", "mscsa", "pyramid", "linear", "compiled"],
)
def test_what_mscsa_cannot_be_added_to(build, message):
    with pytest.raises(UserError, match=message) as caught:
        mscsa.add_to(build(), config=LIGHT)
    assert "\n" not in str(caught.value)


def test_keywords_of_a_backbone_come_too_late_for_a_built_one():
    with pytest.raises(UserError, match="img_size given: the backbone is built already"):
        mscsa.add_to(timm.create_model("test_resnet"), img_size=64)


def test_checkpoint_path(tmp_path):
    torch.manual_seed(0)
    model = create_model("resnet10t", config=LIGHT, num_classes=3)
    mscsa.save_weights(model, tmp_path / "model.safetensors", {})
    torch.manual_seed(1)
    again = create_model(
        "resnet10t", config=LIGHT, num_classes=3, checkpoint_path=tmp_path / "model.safetensors"
    )
    assert all(torch.equal(v, again.state_dict()[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize(("given", "expected"), [(None, 0.2), (0.0, 0.0), (0.5, 0.5)])
@pytest.mark.usefixtures("on_meta")
def test_dropout_before_the_classifier_is_the_backbones_own_unless_given(given, expected):
    """GhostNet has 0.2: the two arms of a comparison must not differ in it."""
    assert timm.create_model("ghostnet_050").drop_rate == 0.2
    assert create_model("ghostnet_050", config=LIGHT, drop_rate=given).head_drop.p == expected


@pytest.mark.parametrize("keep_classifier", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("swin_tiny_patch4_window7_224", "pvt_v2_b0", "coat_tiny", "fastvit_t8", "efficientvit_b0"),
        *("repvit_m0_9", "p2t_tiny", "topformer_tiny", "resnet10t", "convnext_atto"),
    ],
)
@pytest.mark.usefixtures("on_meta")
def test_dropout_of_a_built_backbone_is_taken_over_wherever_it_keeps_it(name, keep_classifier):
    backbone = timm.create_model(name, drop_rate=0.3)
    model = mscsa.add_to(backbone, config=LIGHT, keep_classifier=keep_classifier)
    assert model.head_drop.p == model.drop_rate == 0.3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(name=None), "^None given as the name of a model"),
        (dict(fields=3), "^fields=3 given: give a mapping of values by name"),
        (dict(backbone_kwargs=3), "^backbone_kwargs=3 given: give a mapping of values by name"),
        (dict(neck=3), "^no neck is called 3: give one of mscsa, fpn"),
        (dict(neck=["fpn"]), r"^no neck is called \['fpn'\]: give one of mscsa, fpn"),
        (dict(strides=4), "^strides=4 given: give a list of strides"),
        (dict(strides=["x"]), "^strides=.* given: give a list of strides"),
        (dict(strides=[4, None]), "^strides=.* given: give a list of strides"),
        (dict(name="shunted_tiny", pretrained=True), "^no pretrained weights are named for shunted_tiny"),
    ],
)
@pytest.mark.usefixtures("on_meta")
def test_a_pyramid_refused_in_one_line(options, message):
    one_line_error(lambda: build_pyramid(**{"name": "resnet10t", **options}), message)


@pytest.mark.usefixtures("on_meta")
def test_heads_refuse_backbones_without_weights_too():
    message = "^no pretrained weights are named for {}: start from a file"
    one_line_error(
        lambda: build_segmenter("semantic_fpn", "topformer_tiny", 3, pretrained=True),
        message.format("topformer_tiny"),
    )
    one_line_error(
        lambda: build_detector("retinanet", "mscsa_selecsls84", 3, pretrained=True),
        message.format("selecsls84"),
    )
    one_line_error(lambda: timm.create_model("mscsa_p2t_tiny", pretrained=True), message.format("p2t_tiny"))


@pytest.mark.parametrize("name", ["resnet10t", "convnext_atto"])
def test_a_pruned_model_is_refused_where_it_is_given(name):
    backbone = timm.create_model(name)
    backbone.prune_intermediate_layers([0, 1], prune_norm=True)
    for options in ({"config": LIGHT}, {"budget": 0.1}):
        one_line_error(
            lambda options=options: mscsa.add_to(backbone, **options),
            r"layers were taken out \(as by prune_intermediate_layers\): give it as timm builds it",
        )
