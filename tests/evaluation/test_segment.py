"""Single images, segmented at their own size by a file of weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.assembly.weights_file import load_trained
from mscsa.errors import UserError
from mscsa.evaluation.segment import segment
from mscsa.evaluation.segmentation_inference import SegmentationInference
from tests.evaluation.sided import DOORS, SidePainter, info_of, scene, write_maps


def test_labels_are_the_models_own_at_the_images_size(segmenter: Path, tmp_path: Path) -> None:
    """The image is resized as in evaluation (shorter side 40, longer one at most 60), the logits back."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (found,) = segment(segmenter, [tmp_path / "a.png"])
    assert found.error is None and found.path == str(tmp_path / "a.png")
    assert found.image is not None and np.array_equal(found.image, pixels)
    assert found.class_names == ("background", *"0123456789")
    model, info = load_trained(segmenter)
    resized = np.array(Image.fromarray(pixels).resize((60, 30), Image.Resampling.BILINEAR))
    mean, std = (torch.tensor(info.input[key])[:, None, None] for key in ("mean", "std"))
    image = (torch.from_numpy(resized).permute(2, 0, 1) / 255 - mean) / std
    with torch.inference_mode():
        logits = torch.nn.functional.interpolate(model(image[None]), (20, 40), mode="bilinear")
    assert found.labels is not None and found.labels.dtype == np.uint8
    assert np.array_equal(found.labels, logits[0].argmax(0))
    assert len(np.unique(found.labels)) > 1


def test_an_unreadable_image_stops_nothing(segmenter: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    found = list(segment(segmenter, [tmp_path / "bad.png", images[0]]))
    assert found[0].labels is None and "bad.png" in str(found[0].error)
    assert found[1].error is None and found[1].labels is not None and found[1].labels.shape == (32, 32)


def test_mirror_images_swap_the_classes_that_the_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it names none, and names of classes say left and right, it is said."""
    data, image = write_maps(tmp_path), tmp_path / "scene.png"
    scene().save(image)

    def asked(pairs: tuple[tuple[str, str], ...], *, flip: bool) -> np.ndarray:
        trained = SidePainter().eval(), info_of(data, pairs)
        module = import_module("mscsa.evaluation.segment")  # the package has a function of this name
        monkeypatch.setattr(module, "load_trained", lambda *_: trained)
        (found,) = segment("x", [image], accelerator="cpu", inference=SegmentationInference(flip=flip))
        assert found.labels is not None
        return found.labels

    assert np.unique(asked(DOORS, flip=False)).tolist() == [0, 1, 2]
    assert np.array_equal(asked(DOORS, flip=True), asked((), flip=False)) and not caplog.records
    asked((), flip=True)
    assert "names say left and right: leave --flip out" in caplog.text


def test_a_file_of_another_task_is_refused(classifier: Path) -> None:
    with pytest.raises(UserError, match="holds a model for classification: give one for segmentation"):
        list(segment(classifier, []))
