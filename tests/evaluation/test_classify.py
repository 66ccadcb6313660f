"""Single images, classified by a file of weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.assembly.weights_file import load_trained
from mscsa.errors import UserError
from mscsa.evaluation.classify import classify


def test_predictions_are_the_models_own(classifier: Path, images: list[Path]) -> None:
    found = list(classify(classifier, images, top_k=3, batch_size=2))
    assert [each.path for each in found] == [str(path) for path in images]
    model, info = load_trained(classifier)
    mean, std = (torch.tensor(info.input[key])[:, None, None] for key in ("mean", "std"))
    for path, prediction in zip(images, found, strict=True):
        image = torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) / 255  # scenes are not cropped
        chances = model(((image - mean) / std)[None]).softmax(1)[0]
        expected = chances.topk(3)
        names = [info.class_names[i] for i in expected.indices.tolist()]
        assert [name for name, _ in prediction.classes] == names
        assert [p for _, p in prediction.classes] == pytest.approx(expected.values.tolist(), rel=1e-4)


def test_an_unreadable_image_stops_nothing(classifier: Path, images: list[Path], tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.jpg", tmp_path / "text.png"
    empty.write_bytes(b"")
    text.write_text("no image")
    mixed = [empty, images[0], tmp_path / "missing.png", images[1], text]
    found = list(classify(classifier, mixed, batch_size=2))
    assert [each.error is None for each in found] == [False, True, False, True, False]
    assert [len(each.classes) for each in found] == [0, 5, 0, 5, 0]
    for path, each in zip(mixed, found, strict=True):
        if each.error is not None:
            assert str(path) in each.error and "\n" not in each.error
    alone = list(classify(classifier, images[:2]))
    for ours, expected in zip((found[1], found[3]), alone, strict=True):
        assert dict(ours.classes) == pytest.approx(dict(expected.classes), rel=1e-4)


def test_more_classes_asked_for_than_there_are(classifier: Path, images: list[Path]) -> None:
    (found,) = classify(classifier, images[:1], top_k=50)
    assert len(found.classes) == 10
    assert sum(p for _, p in found.classes) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="give 1 or more"):
        list(classify(classifier, images, top_k=0))


def test_a_file_of_another_task_is_refused(segmenter: Path) -> None:
    with pytest.raises(UserError, match="holds a model for segmentation: give one for classification"):
        list(classify(segmenter, []))
