"""What a published model is: loadable by timm and by us, without paths of the machine it comes from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from mscsa.assembly import load_trained, read_info
from mscsa.hub import push
from tests.refusals import one_line_error


def test_the_files_of_a_classifier(published: Path) -> None:
    names = {path.name for path in published.iterdir()}
    assert names == {"model.safetensors", "config.json", "manifest.json", "README.md"}


def test_timm_builds_the_classifier_with_its_input_and_labels(published: Path, classifier_run: Path) -> None:
    model, info = load_trained(classifier_run)
    again = timm.create_model(f"local-dir:{published}", pretrained=True).eval()
    image = torch.rand(2, 3, 32, 32)
    assert torch.equal(again(image), model(image))
    data = timm.data.resolve_model_data_config(again)
    assert data["input_size"] == (3, 32, 32) and data["crop_pct"] == info.input["crop_pct"]
    assert tuple(data["mean"]) == tuple(info.input["mean"])


def test_a_classifier_that_timm_builds_otherwise_has_no_description(
    classifier_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    create = timm.create_model

    def other(name: str, **options: Any) -> torch.nn.Module:
        model = create(name, **options)
        if name.startswith("local-dir:"):
            model.head.weight.data.add_(1)
        return model

    monkeypatch.setattr(timm, "create_model", other)
    with caplog.at_level(logging.WARNING):
        names = push(classifier_run, str(tmp_path / "out"))
    assert "config.json" not in names and "it would be another model" in caplog.text
    assert "load_trained" in (tmp_path / "out" / "README.md").read_text()


def test_no_path_of_the_machine_is_published(published: Path) -> None:
    for path in published.iterdir():
        assert b"somebody" not in path.read_bytes() and b"secret" not in path.read_bytes(), path.name
    info = read_info(published)
    assert info.data.root is None
    assert info.provenance["recipe"]["data"]["root"] == "flowers"
    assert info.provenance["recipe"]["model"]["checkpoint"] == "start.pth"


def test_what_is_there_is_not_overwritten(classifier_run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("words")
    one_line_error(lambda: push(classifier_run, str(tmp_path / "mine")), "nothing is overwritten")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_failure_leaves_nothing_behind(classifier_run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    one_line_error(lambda: push(classifier_run, str(out), comparison=tmp_path / "none.json"), "comparison")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_weights_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    one_line_error(lambda: push(tmp_path / "run", str(tmp_path / "out")), "has no best.safetensors yet")


def test_a_published_model_can_be_published_again(published: Path, tmp_path: Path) -> None:
    push(published, str(tmp_path / "again"))
    ours, theirs = (load_trained(each)[0].state_dict() for each in (published, tmp_path / "again"))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
