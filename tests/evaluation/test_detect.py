"""Objects in single images, in each image's own pixels, by a file of weights."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2.functional import resize

from mscsa.assembly.weights_file import load_trained
from mscsa.errors import UserError
from mscsa.evaluation.detect import detect
from mscsa.evaluation.detection_inference import DetectionInference
from tests.evaluation.sided import DOORS, SideFinder, info_of, scene, write_objects


def test_objects_are_the_models_own_in_the_images_pixels(detector: Path, tmp_path: Path) -> None:
    """The image is resized as in evaluation (shorter side 48, longer one at most 80), what is found back."""
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (found,) = detect(detector, [tmp_path / "a.png"])
    assert found.error is None and found.path == str(tmp_path / "a.png")
    assert found.image is not None and np.array_equal(found.image, pixels)
    assert found.class_names == tuple("0123456789") and found.category_ids == tuple(range(1, 11))
    assert found.detections is not None and found.detections.masks is not None
    model, _ = load_trained(detector)
    image = resize(torch.from_numpy(pixels).permute(2, 0, 1), [48, 80])
    with torch.inference_mode():
        (expected,) = model([image / 255])
    assert 0 < len(expected["boxes"]) == len(found.detections.boxes)
    assert found.detections.labels.tolist() == expected["labels"].tolist()
    assert np.allclose(found.detections.boxes, expected["boxes"] / 2, atol=1e-4)
    assert all(mask["size"] == [24, 40] for mask in found.detections.masks)


def test_an_unreadable_image_stops_nothing(detector: Path, images: list[Path], tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"x")
    found = list(detect(detector, [tmp_path / "bad.png", images[0]]))
    assert found[0].detections is None and "bad.png" in str(found[0].error)
    assert found[1].error is None and found[1].detections is not None


def test_mirror_images_swap_the_classes_that_the_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it names none, and names of classes say left and right, it is said."""
    data, image = write_objects(tmp_path), tmp_path / "scene.png"
    scene((0,)).save(image)

    def asked(pairs: tuple[tuple[str, str], ...]) -> list[int]:
        trained = SideFinder().eval(), info_of(data, pairs)
        module = import_module("mscsa.evaluation.detect")  # the package has a function of this name
        monkeypatch.setattr(module, "load_trained", lambda *_: trained)
        (found,) = detect("x", [image], accelerator="cpu", inference=DetectionInference(flip=True))
        assert found.detections is not None
        labels: list[int] = found.detections.labels.tolist()
        return labels

    assert asked(DOORS) == [1] and not caplog.records
    assert asked(()) == [1, 2]
    assert "names say left and right: leave --flip out" in caplog.text


def test_a_file_of_another_task_is_refused(classifier: Path) -> None:
    with pytest.raises(UserError, match="give one for detection or instance_segmentation"):
        list(detect(classifier, []))
