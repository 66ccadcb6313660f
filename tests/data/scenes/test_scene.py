"""Scenes: the same everywhere, learnable by construction, and consistent in all their labels."""

import numpy as np
import pytest

from mscsa.data.scenes import scene as scene_module
from mscsa.data.scenes.scene import MIN_CONTRAST, digit_instances, render_scene

CROWDED = [render_scene(i, seed=3, split="train", size=96, max_digits=8) for i in range(60)]


def test_rendering_neither_reads_nor_moves_the_global_generators():
    np.random.seed(0)
    first = render_scene(2, seed=0, split="train", size=64)
    drawn = np.random.rand()
    np.random.seed(0)
    assert drawn == np.random.rand()
    np.random.seed(1)
    again = render_scene(2, seed=0, split="train", size=64)
    assert np.array_equal(first.image, again.image)


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"split": "val"}, {"index": 1}], ids=["seed", "split", "index"]
)
def test_seed_split_and_index_each_change_the_scene(other):
    key = {"index": 0, "seed": 0, "split": "train", "size": 64}
    first, second = render_scene(**key), render_scene(**(key | other))
    texture = ~dilated((first.semantic > 0) | (second.semantic > 0))  # without the soft edges
    assert not np.array_equal(first.image[texture], second.image[texture])


def test_splits_share_no_digit_and_cover_all():
    train, train_labels = digit_instances("train")
    val, val_labels = digit_instances("val")
    assert len(train) + len(val) == 1797
    assert not {glyph.tobytes() for glyph in train} & {glyph.tobytes() for glyph in val}
    for digit in range(10):
        share = np.sum(val_labels == digit) / np.sum(np.r_[val_labels, train_labels] == digit)
        assert share == pytest.approx(0.2, abs=0.01)


def test_a_scene_pastes_only_digits_of_its_own_split(monkeypatch):
    used = []
    place = scene_module._place
    monkeypatch.setattr(
        scene_module, "_place", lambda rng, glyph, *rest: used.append(glyph) or place(rng, glyph, *rest)
    )
    for index in range(50):
        render_scene(index, seed=0, split="val", size=64, max_digits=3)
    own = {glyph.tobytes() for glyph in digit_instances("val")[0]}
    assert used and {glyph.tobytes() for glyph in used} <= own


def test_types_and_shapes():
    for scene in CROWDED:
        count = len(scene.labels)
        assert 1 <= count <= 8
        assert scene.image.shape == (96, 96, 3) and scene.image.dtype == np.uint8
        assert scene.boxes.shape == (count, 4) and scene.boxes.dtype == np.float32
        assert scene.masks.shape == (count, 96, 96) and scene.masks.dtype == bool
        assert scene.semantic.shape == (96, 96) and scene.semantic.dtype == np.uint8
    assert max(len(scene.labels) for scene in CROWDED) >= 5


def test_boxes_are_tight_on_the_visible_masks():
    for scene in CROWDED:
        for box, mask in zip(scene.boxes, scene.masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [
                columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
            ]  # fmt: skip


def test_masks_exclude_each_other_and_make_the_semantic_mask():
    for scene in CROWDED:
        assert scene.masks.sum(0).max() == 1
        expected = np.zeros((96, 96), np.uint8)
        for label, mask in zip(scene.labels, scene.masks, strict=True):
            expected[mask] = label + 1
        assert np.array_equal(scene.semantic, expected)


def test_some_digits_overlap_and_the_later_one_is_on_top():
    """A digit alone in its scene shows its whole mask; covered by a later one it shows less."""
    covered = 0
    for index in range(60):
        whole = []
        place = scene_module._place

        def recording(rng, glyph, masks, areas, place=place, whole=whole):
            result = place(rng, glyph, masks, areas)
            if result is not None:
                window, alpha = result
                mask = np.zeros(masks.shape[1:], bool)
                mask[window] = alpha >= 0.5
                whole.append(mask)
            return result

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(scene_module, "_place", recording)
            scene = render_scene(index, seed=3, split="train", size=96, max_digits=8)
        for i, mask in enumerate(whole):
            on_top = np.any(whole[i + 1 :], axis=0) if whole[i + 1 :] else np.zeros_like(mask)
            assert np.array_equal(scene.masks[i], mask & ~on_top)
            assert scene.masks[i].sum() >= 0.8 * mask.sum()
            covered += bool((mask & on_top).any())
    assert covered > 20


def test_digits_are_brighter_than_the_texture():
    for index in range(100):
        scene = render_scene(index, seed=0, split="train", size=64)
        solid = scene.image[scene.masks[0]].astype(float)
        outside = scene.image[~dilated(scene.masks[0])].astype(float)
        # The strokes' core carries the digit's colour; one grey level of rounding on each side.
        core = np.percentile(solid, 95, axis=0)
        assert np.all(core - outside.max(0) >= 255 * MIN_CONTRAST - 2)
        assert np.all(outside.std(0) < 0.1 * 255)


def dilated(mask, by=6):
    grown = np.pad(mask, by)
    shifts = [(dy, dx) for dy in range(-by, by + 1) for dx in range(-by, by + 1)]
    return np.any([np.roll(grown, shift, (0, 1)) for shift in shifts], axis=0)[by:-by, by:-by]


def longer_side(scene):
    left, top, right, bottom = scene.boxes[0]
    return max(right - left, bottom - top)


def test_sizes_are_log_uniform_between_an_eighth_and_nine_tenths():
    scenes = [render_scene(i, seed=0, split="train", size=256) for i in range(300)]
    sizes = np.array([longer_side(scene) for scene in scenes]) / 256
    # The ink is counted in whole source cells, of which the outermost may be faint.
    assert 0.8 / 8 < sizes.min() < 1.1 / 8
    assert 0.8 < sizes.max() <= 0.95
    for share in (0.25, 0.5, 0.75):
        assert np.mean(sizes < 1 / 8 * (0.9 * 8) ** share) == pytest.approx(share, abs=0.1)


def test_no_digit_is_smaller_than_its_source_however_small_the_image():
    scenes = [render_scene(i, seed=0, split="train", size=32) for i in range(100)]
    assert min(longer_side(scene) for scene in scenes) >= 6


@pytest.mark.parametrize("size", [32, 33, 64, 224])
def test_every_size_gives_a_visible_digit(size):
    for index in range(40):
        scene = render_scene(index, seed=0, split="val", size=size)
        assert len(scene.labels) == 1 and scene.masks[0].sum() >= 4


@pytest.mark.parametrize("bad", [{"size": 31}, {"max_digits": 0}])
def test_too_small_a_scene_is_refused(bad):
    with pytest.raises(ValueError, match="at least 32 px and 1 digit"):
        render_scene(0, **({"seed": 0, "split": "train", "size": 64} | bad))
