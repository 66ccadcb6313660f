"""Deformable DETR: transformers' network unchanged, the paper's heads, start and losses."""

from __future__ import annotations

import math
import socket
import sys
from typing import Any

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mscsa.detection import build_detector
from mscsa.errors import UserError
from tests.detection.small import K, batch, fresh, small, wake
from tests.refusals import one_line_error

VARIANTS = ("deformable_detr", "box_refine", "two_stage")


def pixels_and_mask(net: Any, images: list[Tensor]) -> tuple[Tensor, Tensor]:
    padded, _ = net.transform(images)
    mask = torch.zeros(len(images), *padded.tensors.shape[-2:], dtype=torch.long)
    for one, image in zip(mask, images, strict=True):
        one[: image.shape[1], : image.shape[2]] = 1
    return padded.tensors, mask


@pytest.mark.parametrize("name", VARIANTS)
def test_detections_are_transformers_own(name: str) -> None:
    """transformers' forward on the padded batch, and its processor's top scores, in float64."""
    model = fresh(name).double().eval()
    wake(model, 0.02)
    net: Any = model.net
    images, _ = batch((97, 131, 2), (64, 150, 1), dtype=torch.float64)
    with torch.inference_mode():
        pixels, mask = pixels_and_mask(net, images)
        theirs = net.transformer(pixels, pixel_mask=mask)
        ours = model(images)
    for image, found, logits, boxes in zip(images, ours, theirs.logits, theirs.pred_boxes, strict=True):
        scores, place = logits.sigmoid().flatten().topk(5)
        (cx, cy, w, h), (height, width) = boxes[place // K].unbind(1), image.shape[1:]
        corners = torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=1)
        corners = corners * torch.tensor([width, height, width, height])
        corners = torch.stack([corners[:, ::2].clamp(0, width), corners[:, 1::2].clamp(0, height)], 2)
        assert torch.allclose(found["scores"], scores, rtol=0, atol=1e-12)
        assert found["labels"].tolist() == (place % K + 1).tolist()
        assert torch.allclose(found["boxes"], corners.flatten(1), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["deformable_detr", "box_refine"])
def test_losses_are_transformers_own_of_each_layer(name: str) -> None:
    """It weights classes by 1 in the loss; the paper, and we, by 2."""
    model = fresh(name).double()
    wake(model, 0.02)
    net: Any = model.net
    net.config.auxiliary_loss = True
    net.config.class_cost = 2
    images, targets = batch((97, 131, 2), (64, 150, 3), dtype=torch.float64)
    for norm in (each for each in model.modules() if isinstance(each, _BatchNorm)):
        norm.eval()
    ours = model(images, targets)
    assert len(ours) == 2 * 3
    pixels, mask = pixels_and_mask(net, images)
    wanted = []
    for image, target in zip(images, targets, strict=True):
        (x1, y1, x2, y2), (height, width) = target["boxes"].unbind(1), image.shape[1:]
        boxes = [(x1 + x2) / 2 / width, (y1 + y2) / 2 / height, (x2 - x1) / width, (y2 - y1) / height]
        wanted.append({"class_labels": target["labels"] - 1, "boxes": torch.stack(boxes, dim=1)})
    theirs = net.transformer(pixels, pixel_mask=mask, labels=wanted).loss_dict
    for kind, weight in (("loss_ce", 2), ("loss_bbox", 5), ("loss_giou", 2)):
        for layer, key in ((0, f"{kind}_0"), (1, kind)):  # its last layer has no number
            assert theirs[key] > 0
            assert torch.allclose(ours[f"{kind}_{layer}"], weight * theirs[key], rtol=1e-9), key


def test_the_proposals_are_trained_as_objects_of_any_class() -> None:
    """transformers leaves their loss out, so that the last heads would learn nothing."""
    model = fresh("two_stage")
    images, targets = batch((97, 131, 2))
    losses = model(images, targets)
    assert len(losses) == 3 * (2 + 1)
    last = model.net.transformer.bbox_embed[-1].layers[0].weight
    other = model.net.transformer.bbox_embed[0].layers[0].weight
    of_proposals = sum(value for key, value in losses.items() if key.endswith("proposals"))
    assert of_proposals > 0
    gradient, none = torch.autograd.grad(of_proposals, (last, other), allow_unused=True, retain_graph=True)
    assert gradient is not None and none is None
    relabelled = [{**targets[0], "labels": 4 - targets[0]["labels"]}]
    torch.manual_seed(0)
    again = model(images, relabelled)
    assert torch.allclose(again["loss_ce_proposals"], losses["loss_ce_proposals"], rtol=1e-4)
    assert not torch.allclose(again["loss_ce_0"], losses["loss_ce_0"], rtol=1e-4)


def test_the_defaults_are_the_papers() -> None:
    with torch.device("meta"):
        model = build_detector("deformable_detr", "mscsa_resnet18", 80)
    net: Any = model.net
    config = net.config
    assert (config.num_queries, config.encoder_layers, config.decoder_layers) == (300, 6, 6)
    assert (config.d_model, config.encoder_ffn_dim, config.decoder_ffn_dim) == (256, 1024, 1024)
    assert (config.num_feature_levels, config.encoder_n_points, config.decoder_n_points) == (4, 4, 4)
    assert config.dropout == config.attention_dropout == config.activation_dropout == 0.1
    assert net.detections_per_img == 100
    convolutions = [each[0] for each in net.transformer.model.input_proj]
    assert [each.in_channels for each in convolutions] == [128, 256, 512, 512]  # the last one from C5
    assert [each.stride for each in convolutions] == [(1, 1), (1, 1), (1, 1), (2, 2)]


@pytest.mark.parametrize("name", VARIANTS)
def test_heads_start_as_in_the_paper(name: str) -> None:
    net: Any = fresh(name).net
    classes, boxes = net.transformer.class_embed, net.transformer.bbox_embed
    is_plain, is_two_stage = name == "deformable_detr", name == "two_stage"
    assert len(classes) == len(boxes) == (3 if is_two_stage else 2)
    for i, (of_class, of_box) in enumerate(zip(classes, boxes, strict=True)):
        assert torch.allclose(of_class.bias.sigmoid(), torch.tensor(0.01))
        last = of_box.layers[-1]
        assert not last.weight.any() and not last.bias[:2].any()
        size = 0.0 if is_two_stage or (i and not is_plain) else -2.0
        assert last.bias[2:].tolist() == [size, size]
    shared = [classes[0].weight is classes[1].weight, boxes[0].layers[0].weight is boxes[1].layers[0].weight]
    assert shared == [is_plain, is_plain]
    decoder = net.transformer.model.decoder
    assert decoder.bbox_embed is (None if is_plain else boxes)
    assert decoder.class_embed is (classes if is_two_stage else None)


def test_layers_start_as_in_the_paper() -> None:
    """Glorot's bounds, and queries that look at all places: their spread is 1, not transformers' 0.02."""
    net: Any = fresh("deformable_detr").net
    model = net.transformer.model

    def bound(layer: nn.Module, gain: float = 1.0) -> float:
        fan = layer.weight[0].numel() + layer.weight.shape[0]
        return gain * math.sqrt(6 / fan)

    encoder, decoder = model.encoder.layers[0], model.decoder.layers[0]
    expected = [(layer, 1.0) for layer in (encoder.mlp.fc1, encoder.mlp.fc2, encoder.self_attn.value_proj)]
    expected += [
        (layer, 1.0) for layer in (decoder.mlp.fc1, decoder.self_attn.o_proj, model.input_proj[0][0])
    ]
    expected += [(decoder.self_attn.q_proj, math.sqrt(0.5)), (decoder.self_attn.v_proj, math.sqrt(0.5))]
    for layer, gain in expected:
        assert 0.95 * bound(layer, gain) < layer.weight.abs().max() <= bound(layer, gain)
    for attention in (encoder.self_attn, decoder.encoder_attn):
        assert not attention.sampling_offsets.weight.any()
        offsets = attention.sampling_offsets.bias.view(8, 4, 4, 2)  # heads, levels, points
        reach = torch.arange(1, 5).expand(8, 4, 4).float()
        assert torch.allclose(offsets.abs().amax(dim=-1), reach)  # 1 to 4 px, a direction for each head
        assert len({tuple(each.round(decimals=3).tolist()) for each in offsets[:, 0, 0]}) == 8
    assert 0.9 < model.query_position_embeddings.weight.std() < 1.1
    points = model.reference_points(model.query_position_embeddings.weight[:, :256]).sigmoid()
    assert points.std(dim=0).min() > 0.15


def test_dropout_is_where_the_paper_has_it() -> None:
    """Not on the maps that enter the encoder; in attention and inside the feed-forward layers too."""
    net: Any = small("deformable_detr", dropout=0.3).net
    model = net.transformer.model
    assert model.encoder.dropout == 0.0
    assert model.encoder.layers[0].dropout == model.decoder.layers[0].dropout == 0.3
    mlp = model.decoder.layers[0].mlp
    assert mlp.dropout == mlp.activation_dropout == model.decoder.layers[0].self_attn.attention_dropout == 0.3


def test_the_mask_leaves_out_the_padding() -> None:
    """Reference points and attention reach over each image's own share of the padded batch."""
    model = fresh("deformable_detr").eval()
    encoder = model.net.transformer.model.encoder
    seen: dict[str, Any] = {}
    encoder.register_forward_pre_hook(lambda _m, _a, kwargs: seen.update(kwargs), with_kwargs=True)
    with torch.inference_mode():
        model([torch.rand(3, 96, 160), torch.rand(3, 64, 80)])
    assert seen["spatial_shapes_list"] == [(12, 20), (6, 10), (3, 5), (2, 3)]
    ratios = seen["valid_ratios"]  # width, height
    assert torch.equal(ratios[0], torch.ones(4, 2))
    assert ratios[1, 0].tolist() == pytest.approx([10 / 20, 8 / 12])
    assert ratios[1, 1].tolist() == pytest.approx([5 / 10, 4 / 6])
    mask = seen["attention_mask"][1, : 12 * 20].view(12, 20)
    inside = torch.zeros(12, 20, dtype=torch.bool)
    inside[:8, :10] = True
    assert torch.equal(mask, inside)
    assert seen["attention_mask"][0].all()


def test_boxes_are_shares_of_the_image_without_its_padding() -> None:
    """Heads that answer 'the whole image' give its own corners, in a padded batch too."""
    model = fresh("deformable_detr").eval()
    for head in model.net.transformer.bbox_embed:
        nn.init.constant_(head.layers[-1].bias, 20.0)  # 1 in centre and size
    with torch.inference_mode():
        found = model([torch.rand(3, 96, 160), torch.rand(3, 61, 83)])
    for each, (height, width) in zip(found, [(96, 160), (61, 83)], strict=True):
        assert torch.allclose(each["boxes"][:, 2:], torch.tensor([width, height]).float())
        assert torch.allclose(each["boxes"][:, :2], torch.tensor([width / 2, height / 2]), atol=0.1)


def test_two_stages_on_an_image_with_fewer_places_than_queries() -> None:
    model = small("two_stage", num_queries=40).eval()
    with torch.inference_mode():
        small_one = model.net.transformer.model
        few, many = [], []
        hook = small_one.decoder.register_forward_hook(lambda _m, _a, out: few.append(out.last_hidden_state))
        (found,) = model([torch.rand(3, 32, 32)])
        hook.remove()
        small_one.decoder.register_forward_hook(lambda _m, _a, out: many.append(out.last_hidden_state))
        model([torch.rand(3, 96, 96)])
    assert few[0].shape[1] == 4 * 4 + 2 * 2 + 1 + 1 and many[0].shape[1] == 40
    assert len(found["boxes"]) == 5


@pytest.mark.parametrize("backbone", ["test_resnet", "mscsa_test_resnet"])
def test_transformers_leaves_the_backbone_as_it_is(backbone: str) -> None:
    """It replaces the batch norms of backbones that it builds by frozen ones, and draws weights anew."""
    model = fresh("deformable_detr", backbone)
    alone = timm.create_model("test_resnet")
    expected = sum(isinstance(each, _BatchNorm) for each in alone.modules())
    norms = [each for each in model.pyramid.backbone.modules() if isinstance(each, _BatchNorm)]
    assert len(norms) == expected and all(each.training for each in norms)
    assert all(parameter.requires_grad for parameter in model.parameters())
    # He's start of timm's ResNet, not transformers' normal of 0.02.
    weight = model.pyramid.backbone.layer1[0].conv1.weight
    assert weight.std().item() == pytest.approx(math.sqrt(2 / (weight.shape[0] * 9)), rel=0.05)


def test_it_is_built_and_run_without_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model = small("deformable_detr").eval()
    with torch.inference_mode():
        (found,) = model([torch.rand(3, 64, 64)])
    assert len(found["boxes"]) == 5
    attention = model.net.transformer.model.encoder.layers[0].self_attn.attn
    assert not list(attention.parameters())
    assert type(attention).__module__.startswith("transformers.models.deformable_detr")


@pytest.mark.parametrize("missing", ["transformers", "scipy.optimize"])
def test_without_its_packages_it_says_what_to_install(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mscsa.detection.deformable_detr")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delitem(sys.modules, "mscsa.detection.set_loss", raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"run: pip install 'mscsa\[detection\]'") as caught:
        build_detector("deformable_detr", "test_resnet", 3)
    assert "\n" not in str(caught.value) and f"import of {missing}" in str(caught.value)
    assert build_detector("retinanet", "test_resnet", 3, fpn_channels=16).num_classes == 3


@pytest.mark.parametrize("options", [{}, {"box_refine": True}, {"two_stage": True}], ids=str)
def test_one_decoder_layer_is_enough(options: dict[str, bool]) -> None:
    model = build_detector(
        "deformable_detr", "test_resnet", 3, encoder_layers=1, decoder_layers=1, num_queries=10, **options
    )
    target = {"boxes": torch.tensor([[4.0, 8.0, 40.0, 50.0]]), "labels": torch.tensor([2])}
    losses = model([torch.rand(3, 64, 64)], [target])
    torch.stack(list(losses.values())).sum().backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]
    assert len(model.eval()([torch.rand(3, 64, 64)])[0]["boxes"]) == 30


def test_half_precision_is_for_autocast() -> None:
    model = small("deformable_detr").eval()
    images, _ = batch((64, 64, 1))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        for given in (images, [image.bfloat16() for image in images]):
            assert model(given)[0]["boxes"].isfinite().all()
    half = [image.half() for image in images]
    one_line_error(lambda: model.half()(half), "a Deformable DETR in torch.float16: it samples in float32")
