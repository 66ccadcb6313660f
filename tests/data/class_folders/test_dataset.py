"""Image folders: labels by sorted name or by a checkpoint's, and one line for what does not fit."""

import shutil
import unicodedata

import numpy as np
import pytest
import torch
from PIL import Image

from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.sampler import SampleKey
from mscsa.errors import UserError


def to_tensor(image):
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float()


def build(root, split="train", **options):
    return ImageFolder(root, split, to_tensor, seed=0, **options)


def refusal(root, *args, **options):
    with pytest.raises(UserError) as caught:
        build(root, *args, **options)
    line = str(caught.value)
    assert "\n" not in line and str(root) in line
    return line


def test_labels_follow_the_sorted_names_in_both_splits(folder):
    for split, per_class in (("train", 4), ("val", 3)):
        dataset = build(folder, split)
        assert dataset.class_names == ["ant", "bee", "cat"]
        assert len(dataset) == 3 * per_class
        assert [dataset[i][1] for i in range(len(dataset))] == np.repeat(range(3), per_class).tolist()


def test_item_is_the_described_file(folder):
    dataset = build(folder)
    image, label, index = dataset[SampleKey(epoch=0, position=3, index=5)]
    assert (label, index) == (1, 5)
    assert dataset.describe(5) == str(folder / "train" / "bee" / "1.png")
    assert torch.equal(image, to_tensor(Image.open(dataset.describe(5))))
    assert image.shape == (3, 48, 40)


def test_hidden_and_other_files_are_left_out_and_extensions_are_caseless(folder):
    ant = folder / "train" / "ant"
    shutil.copy(ant / "0.png", ant / "UPPER.PNG")
    shutil.copy(ant / "0.png", ant / ".hidden.png")
    (ant / "notes.txt").write_text("x")
    (ant / "folder.png").mkdir()
    (folder / "train" / ".DS_Store").mkdir()
    (folder / "train" / "readme.md").write_text("x")
    names = [path.rsplit("/")[-1] for path in map(build(folder).describe, range(5))]
    assert names == ["0.png", "1.png", "2.png", "3.png", "UPPER.PNG"]
    assert build(folder).class_names == ["ant", "bee", "cat"]


def test_images_in_folders_within_belong_to_the_class(folder):
    ant = folder / "train" / "ant"
    (ant / "more" / "deep").mkdir(parents=True)
    shutil.move(ant / "0.png", ant / "more" / "0.png")
    shutil.copy(ant / "1.png", ant / "more" / "deep" / "9.jfif")
    dataset = build(folder)
    assert len(dataset) == 13
    names = [dataset.describe(i).removeprefix(f"{ant}/") for i in range(5)]
    assert names == ["1.png", "2.png", "3.png", "more/0.png", "more/deep/9.jfif"]
    assert dataset.files(3) == (str(ant / "more" / "0.png"),)


def test_what_is_left_out_is_counted_by_its_kind(folder, caplog):
    build(folder)
    assert not caplog.records
    for name in ("a.heic", "b.HEIC", "c.jp2", "README"):
        (folder / "train" / "ant" / name).write_bytes(b"x")
    build(folder)
    (record,) = caplog.records
    assert "4 files are left out, which are no images by their names (2 .heic, 1 .jp2, 1 no extension)" in (
        record.getMessage()
    )


def test_links_are_followed(folder, tmp_path):
    moved = tmp_path / "elsewhere"
    (folder / "train" / "ant").rename(moved)
    (folder / "train" / "ant").symlink_to(moved)
    (folder / "train" / "bee" / "link.png").symlink_to(moved / "0.png")
    dataset = build(folder)
    assert len(dataset) == 13 and dataset[8][1] == 1


def test_a_dangling_link_is_named_when_it_is_read(folder):
    (folder / "train" / "ant" / "0.png").unlink()
    (folder / "train" / "ant" / "0.png").symlink_to(folder / "gone.png")
    with pytest.raises(UserError, match="ant/0.png: no such file"):
        build(folder)[0]


def test_labels_follow_the_names_of_a_checkpoint(folder):
    dataset = build(folder, "val", class_names=["cat", "ant", "bee"])
    assert dataset.class_names == ["cat", "ant", "bee"]
    for index in range(len(dataset)):
        _, label, _ = dataset[index]
        assert f"/{dataset.class_names[label]}/" in dataset.describe(index)


def test_a_checkpoint_needs_only_the_split_it_is_evaluated_on(folder):
    shutil.rmtree(folder / "train")
    assert len(build(folder, "val", class_names=["ant", "bee", "cat"])) == 9


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_letters_may_be_taken_apart(folder, form):
    """As archives of macOS do; files of weights may have such names."""
    name = unicodedata.normalize("NFC", "Käfer")
    (folder / "train" / "bee").rename(folder / "train" / name)
    (folder / "val" / "bee").rename(folder / "val" / unicodedata.normalize("NFD", name))
    for split, count in (("train", 4), ("val", 3)):
        dataset = build(folder, split)
        assert dataset.class_names == [name, "ant", "cat"] and dataset.labels.count(0) == count
        assert dataset[0][1] == 0
    known = ["cat", unicodedata.normalize(form, name), "ant"]
    dataset = build(folder, "val", class_names=known)
    assert dataset.class_names == known and dataset.labels.count(1) == 3


def test_two_spellings_of_a_class_are_one(folder):
    for form, old in (("NFC", "bee"), ("NFD", "cat")):
        (folder / "train" / old).rename(folder / "train" / unicodedata.normalize(form, "Käfer"))
    dataset = build(folder, class_names=["ant", "Käfer"])
    assert dataset.labels.count(1) == 8 and len({dataset.describe(i) for i in range(12)}) == 12


def test_classes_that_the_checkpoint_does_not_know_are_named(folder):
    line = refusal(folder, "val", class_names=["ant", "cow", "cat", "dog"])
    assert "unknown 'bee'" in line and "missing 'cow', 'dog'" in line


def test_many_differing_classes_are_counted_not_listed(folder):
    known = ["ant", "bee"] + [f"x{i}" for i in range(20)]
    line = refusal(folder, class_names=known)
    assert "unknown 'cat', missing 'x0', 'x1', 'x10', 'x11', 'x12' and 15 more" in line


def test_a_split_may_lack_classes_of_the_checkpoint(folder, caplog):
    """As it may for objects and label maps; the others keep their labels."""
    dataset = build(folder, "val", class_names=["ant", "asp", "bee", "cat", "dog"])
    assert dataset.class_names == ["ant", "asp", "bee", "cat", "dog"]
    assert dataset.labels == [0] * 3 + [2] * 3 + [3] * 3
    (record,) = caplog.records
    assert record.getMessage() == f"{folder / 'val'}: no image of 'asp', 'dog' in val"
    for file in (folder / "val" / "bee").iterdir():
        file.unlink()
    assert "bee: class without images" in refusal(folder, "val", class_names=["ant", "bee", "cat", "dog"])


def test_missing_root_split_and_classes(folder, tmp_path):
    assert "no such folder" in refusal(tmp_path / "nowhere")
    shutil.rmtree(folder / "val")
    assert "no folder val/" in refusal(folder, "val")
    assert "no folder val/" in refusal(folder, "train")
    (folder / "val").mkdir()
    assert "no class folders" in refusal(folder, "val")
    (folder / "val" / "image.png").write_bytes(b"x")
    assert "no class folders" in refusal(folder, "val")


def test_empty_class(folder):
    for file in (folder / "val" / "bee").iterdir():
        file.unlink()
    (folder / "val" / "bee" / "notes.txt").write_text("x")
    line = refusal(folder, "val")
    assert "val/bee: class without images" in line and ".jpg" in line


@pytest.mark.parametrize("split", ["train", "val"])
def test_classes_of_one_split_only_are_named(folder, split):
    (folder / "train" / "only_here").mkdir()
    shutil.rmtree(folder / "train" / "cat")
    line = refusal(folder, split)
    assert "only train/ has 'only_here'" in line and "only val/ has 'cat'" in line


def test_a_damaged_file_is_one_line_with_its_name(folder):
    path = folder / "train" / "bee" / "2.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(UserError, match="bee/2.png: damaged"):
        build(folder)[6]
