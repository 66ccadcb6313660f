"""Commands about models as such."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from mscsa.speed import interleaved
from tests.cli.running import run

TINY = ("test_resnet", "--budget", "0.5", "--mscsa.pool_stride", "8", "--size", "32x64")


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    assert "mscsa_pvt_v2_b1" in run(capsys, "list")[1]
    recipes = run(capsys, "list", "--recipes", "scenes/*")[1]
    assert "scenes/mscsa_resnet10t" in recipes and "imagenet/" not in recipes
    assert "Zhang et al., CVPR 2022" in run(capsys, "list", "--necks")[1]
    assert "64, 128, 320, 512" in run(capsys, "list", "--backbones", "pvt_v2_b1")[1]


def test_info_and_macs_take_the_form_of_the_model(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    code, out, err = run(capsys, "info", *TINY, "--head", "semantic_fpn", "--json", str(file))
    assert (code, err) == (0, "")
    info = json.loads(file.read_text())
    assert (info["name"], info["head"]) == ("mscsa_test_resnet", "semantic_fpn")
    assert (info["input_size"], info["config"]["pool_stride"]) == ([32, 64], 8)
    assert "Configuration of MSCSA" in out
    shorter = run(capsys, "macs", *TINY, "--head", "semantic_fpn")[1]
    assert "Configuration of MSCSA" not in shorter and out.endswith(shorter)


def test_info_of_another_neck(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "info.json"
    form = ("--neck", "bifpn", "--budget", "0.5", "--neck-config.depth", "1", "--size", "64")
    code, out, err = run(capsys, "info", "test_resnet", *form, "--json", str(file))
    assert (code, err) == (0, "")
    info = json.loads(file.read_text())
    assert (info["name"], info["neck"], info["config"]["depth"]) == ("test_resnet + BiFPN", "bifpn", 1)
    assert 40 < info["macs_difference_percent"] <= 50
    assert "Configuration of BiFPN (mscsa.necks.BiFPNConfig)" in out and "neck: BiFPN" in out
    assert "Each map comes out with" in out and "Token map" not in out
    for wrong, message in (
        (("--neck", "fpm"), "no neck is called 'fpm': did you mean fpn?"),
        (("--neck", "fpn", "--mscsa.depth", "2"), "by neck_config (--neck-config), or leave MSCSA's out"),
        (("--neck", "fpn", "--head", "topformer_head"), "topformer_head on the neck fpn"),
        (
            ("--neck-config.depth", "2"),
            "neck_config (--neck-config) given without another neck: name one by neck (--neck)",
        ),
    ):
        code, _, err = run(capsys, "info", "test_resnet", *wrong)
        assert code == 2 and message in err and err.count("\n") == 1


def test_bench_of_another_neck(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleaved, "_ROUND_S", 0.0)
    monkeypatch.setattr(interleaved, "_WARM_UP_S", 0.0)
    options = ("--batch-size", "1", "--mode", "inference", "--rounds", "5", "--no-memory", "--size", "64")
    code, out, _ = run(capsys, "bench", "test_resnet", "--neck", "fpn", "--budget", "0.5", *options)
    assert code == 0 and "test_resnet + FPN" in out and "pyramid form" in out


def test_a_tag_names_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "info", "mscsa_convnext_tiny.in12k_ft_in1k")
    assert code == 0
    assert "mscsa_convnext_tiny.in12k_ft_in1k against its backbone" in out


def test_a_table_of_the_paper(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    code, out, _ = run(capsys, "macs", "--table", "1", "--json", str(file))
    assert code == 0 and "Table 1" in out
    content = json.loads(file.read_text())
    assert (content["table"], len(content["rows"])) == ("1", 3)


@pytest.mark.parametrize(
    "option",
    [
        *[("--size", "64"), ("--dense",), ("--head", "retinanet"), ("--neck", "fpn"), ("--budget", "0.2")],
        ("--mscsa.depth", "2"),
    ],
)
def test_the_paper_fixes_the_form(capsys: pytest.CaptureFixture[str], option: tuple[str, ...]) -> None:
    code, out, err = run(capsys, "macs", "--table", "1", *option)
    assert (code, out) == (2, "")
    assert "--table takes no --size, --dense, --head, --neck, --budget or --mscsa" in err


def test_bench(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(interleaved, "_ROUND_S", 0.0)
    monkeypatch.setattr(interleaved, "_WARM_UP_S", 0.0)
    file = tmp_path / "bench.json"
    options = ("--batch-size", "1", "2", "--mode", "inference", "--rounds", "5", "--no-memory")
    layout = ("--layout", "channels_last", "--device", "cpu", "--threads", "1", "--fuse")
    code, out, _ = run(capsys, "bench", *TINY, *options, *layout, "--json", str(file))
    assert code == 0 and "Inference; images of 32x64 px" in out
    content = json.loads(file.read_text())
    assert [(c["mode"], c["batch_size"]) for c in content["comparisons"]] == [
        *(("inference", 1), ("inference", 2))
    ]
    assert content["input_size"] == [32, 64] and content["machine"]["channels_last"]
    assert content["machine"]["folded"] and not content["machine"]["compiled"]
    assert "channels-last, folded" in out and "p95 ms" in out


def test_saliency_of_an_untrained_model_says_so(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.new("RGB", (40, 50), "red").save(tmp_path / "red.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    images = (str(tmp_path / "red.png"), str(tmp_path / "bad.png"))
    options = (
        "--model",
        "mscsa_test_resnet",
        "--size",
        "64",
        "--query",
        "3,4",
        "--out",
        str(tmp_path / "out"),
    )
    code, out, err = run(capsys, "saliency", *images, *options)
    assert code == 2
    assert "MSCSA has random weights" in err and "error: " in err and "bad.png" in err
    assert "Share of the attention" in out
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("red.json", "red_attention.png", "red_energy.png", "red_query1.png")
    }
