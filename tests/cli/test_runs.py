"""Commands that train, measure and use models."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]
from PIL import Image

from mscsa_cli.runs import run_folder
from tests.cli.running import run
from tests.evaluation.untrained import CLASSES, CLASSIFIER, save_untrained

SMALL = (
    *("--data.image_size", "32", "--data.num_train", "16", "--data.num_val", "8"),
    *("--data.batch_size", "8", "--data.eval_batch_size", "8", "--run.epochs", "1"),
)
"""Overrides that make a recipe on scenes a matter of seconds."""


def test_a_comparison_that_is_told_to_stop_says_how_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def train_all(*_: object, **__: object) -> None:
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("mscsa.compare.compare.train_all", train_all)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as caught:
        run(capsys, "compare", "scenes/mscsa_resnet10t", "--out", str(tmp_path / "compared"), "--seeds", "1")
    assert caught.value.code == 128 + signal.SIGTERM and signal.getsignal(signal.SIGTERM) is before
    assert capsys.readouterr().err == "stopped by SIGTERM; the same command goes on\n"


def test_train_eval_predict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = run(capsys, "train", "scenes/resnet10t", "--model.name", "test_resnet", *SMALL)
    assert code == 0 and out.splitlines()[-1] == "next     mscsa eval runs/scenes/resnet10t"
    weights = "runs/scenes/resnet10t/last.safetensors"
    code, out, _ = run(capsys, "eval", "runs/scenes/resnet10t", "--device", "cpu")
    assert code == 0 and "top-1" in out

    files = ("--json", "eval.json", "--out", "pictures")
    code, out, _ = run(capsys, "eval", weights, *files, "--device", "cpu")
    assert code == 0 and weights in out
    top1 = yaml.safe_load(Path("eval.json").read_text())["top1"]
    trained = yaml.safe_load(Path("runs/scenes/resnet10t/result.json").read_text())["scores"]["top1"]
    assert top1 == trained and Path("pictures/confusion.png").exists()
    content = yaml.safe_load(Path("eval.json").read_text())
    assert sum(sum(row) for row in content["confusion"]) == 8 and len(content["class_accuracy"]) == 10

    Image.new("RGB", (40, 50), "red").save("red.png")
    Path("bad.png").write_bytes(b"no image")
    code, out, err = run(capsys, "predict", "red.png", "--checkpoint", weights, "--top-k", "2")
    assert code == 0 and err == ""
    assert len([line for line in out.splitlines() if line[-1:].isdigit()]) == 2
    code, out, err = run(capsys, "predict", "red.png", "bad.png", "--checkpoint", weights)
    assert code == 2
    assert "red.png" in out
    assert err.startswith("error: bad.png: ") and err.count("\n") == 1

    code, out, err = run(
        capsys, "predict", "red.png", "--checkpoint", "runs/scenes/resnet10t", "--top-k", "2"
    )
    assert code == 0 and err == ""

    code, _, err = run(capsys, "train", "scenes/resnet10t", "--out", "runs/scenes/resnet10t", *SMALL)
    assert code == 2 and "is there already" in err
    code, out, _ = run(capsys, "train", "--resume", "runs/scenes/resnet10t")
    assert code == 0 and out.splitlines()[-1] == "next     mscsa eval runs/scenes/resnet10t"
    code, out, _ = run(capsys, "train", "--resume", "runs/scenes/resnet10t", "--run.epochs", "2", "--extend")
    assert code == 0 and "after 4 steps" in out
    code, out, _ = run(capsys, "train", "--resume", "runs/scenes/resnet10t")
    assert code == 0 and "after 4 steps" in out
    code, _, err = run(capsys, "train", "--resume", "runs")
    assert code == 2 and "there is no run in it" in err


def test_an_evaluation_whose_pictures_have_no_place_is_not_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import mscsa.evaluation

    monkeypatch.setattr(mscsa.evaluation, "evaluate", lambda *_, **__: pytest.fail("it was made"))
    weights = save_untrained(tmp_path / "best.safetensors", CLASSIFIER, CLASSES)
    (tmp_path / "confusion.png").write_text("mine")
    for out, message in ((weights, "is no folder"), (tmp_path, "confusion.png is there already")):
        code, _, err = run(capsys, "eval", str(weights), "--out", str(out))
        assert code == 2 and message in err and err.count("\n") == 1


def test_a_run_has_the_folder_of_its_recipe_unless_told() -> None:
    assert run_folder("scenes/resnet10t", None) == Path("runs/scenes/resnet10t")
    assert run_folder("scenes/resnet10t", "here") == Path("here")
    assert run_folder("scenes/resnet10t", "here", True) == Path("here")
    assert run_folder("scenes/resnet10t", None, "there") == Path("there")
    with pytest.raises(ValueError, match="--resume there and --out here both name a folder"):
        run_folder("scenes/resnet10t", "here", "there")


@pytest.mark.parametrize("form", ["finetune/mscsa_p2t_tiny", "finetune/ghostnet_050"])
def test_a_recipe_of_a_backbone_without_weights_is_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, form: str
) -> None:
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "data" / split / name).mkdir(parents=True)
            Image.new("RGB", (40, 40), "red").save(tmp_path / "data" / split / name / "0.png")
    options = ("--data.root", str(tmp_path / "data"), "--data.workers", "0", "--out", str(tmp_path / "run"))
    code, _, err = run(capsys, "train", form, *options)
    assert code == 2 and err.startswith("error: no pretrained weights are named for ")
    assert "--model.checkpoint FILE" in err and err.count("\n") == 1
    assert "--model.checkpoint FILE" in run(capsys, "list", "--recipes", "finetune/*")[1]
