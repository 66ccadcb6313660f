"""Tables of images and classes, as people and tools write them: each is read the same way."""

from __future__ import annotations

import json
import logging
import shutil
import unicodedata
from pathlib import Path

import pytest
from PIL import Image

from mscsa.data.check_dataset import check_dataset, layout_of
from mscsa.data.class_folders.dataset import ImageFolder
from mscsa.data.class_folders.layouts import find_classes
from mscsa.data.datasets import build_datasets
from mscsa.data.identity import hash_of_files
from mscsa.errors import UserError
from mscsa.recipes.spec import ClassificationAugment, ClassificationData

CLASS_OF = {"a": "cat", "b": "dog", "c": "cat", "d": "dog", "e": "cat", "f": "dog"}
VAL = ("e", "f")


def write_images(root: Path, places: dict[str, str]) -> Path:
    """Images of the names in CLASS_OF, each in its folder."""
    for i, name in enumerate(CLASS_OF):
        folder = root / places.get(name, ".")
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (12, 10), (40 * i, 9, 9)).save(folder / f"{name}.jpg")
    return root


def read(root: Path) -> dict[str, dict[str, list[str]]]:
    """Class -> names of images, of both splits."""
    found = {}
    for split in ("train", "val"):
        where = find_classes(root, split)  # type: ignore[arg-type]
        found[split] = {
            name: [Path(each).stem for each in where.images(name)] for name in where.class_names()
        }
    return found


EXPECTED = {
    "train": {"cat": ["a", "c"], "dog": ["b", "d"]},
    "val": {"cat": ["e"], "dog": ["f"]},
}


def rows(form: str, names: tuple[str, ...] = tuple(CLASS_OF)) -> list[str]:
    """A row for each image, of {name}, {label}, {split} and {is_valid}."""
    return [
        form.format(
            name=name, label=CLASS_OF[name], split="valid" if name in VAL else "train", is_valid=name in VAL
        )
        for name in names
    ]


def in_one_folder(root: Path) -> None:
    write_images(root, {})
    (root / "labels.csv").write_text("\n".join(["filename,label,split", *rows("{name}.jpg,{label},{split}")]))


def of_fastai(root: Path) -> None:
    """A column of truth values, names with their folders."""
    write_images(root, dict.fromkeys(CLASS_OF, "images"))
    (root / "labels.csv").write_text(
        "\n".join(["name,label,is_valid", *rows("images/{name}.jpg,{label},{is_valid}")])
    )


def of_kaggle(root: Path) -> None:
    """Ids without an ending, in folders whose names the table leaves out; other columns beside."""
    write_images(root, dict.fromkeys(CLASS_OF, "pictures/all"))
    (root / "train.csv").write_text(
        "\n".join(["id;breed;age", *rows("{name};{label};3", ("a", "b", "c", "d"))])
    )
    (root / "val.csv").write_text("\n".join(["id;breed;age", *rows("{name};{label};3", VAL)]))


def of_roboflow(root: Path) -> None:
    """A column of 0 and 1 for each class, beside the images."""
    write_images(root, {name: "valid" if name in VAL else "train" for name in CLASS_OF})
    for folder, names in (("train", ("a", "b", "c", "d")), ("valid", VAL)):
        lines = [
            f"{name}.jpg, {int(CLASS_OF[name] == 'cat')}, {int(CLASS_OF[name] == 'dog')}" for name in names
        ]
        (root / folder / "_classes.csv").write_text("\n".join(["filename, cat, dog", *lines]))


def of_hugging_face(root: Path) -> None:
    """JSON lines beside the images (imagefolder with metadata)."""
    write_images(root, {name: "validation" if name in VAL else "train" for name in CLASS_OF})
    for folder, names in (("train", ("a", "b", "c", "d")), ("validation", VAL)):
        lines = [json.dumps({"file_name": f"{name}.jpg", "label": CLASS_OF[name]}) for name in names]
        (root / folder / "metadata.jsonl").write_text("\n".join(lines))


def with_several_roots(root: Path) -> None:
    """Folders apart, one of them elsewhere; as Windows writes paths."""
    write_images(
        root / "data", {"a": "one", "b": "one", "c": "two", "d": "../elsewhere", "e": "two", "f": "two"}
    )
    place = {"a": r"one\a.jpg", "b": r"one\b.jpg", "d": str(root / "elsewhere/d.jpg")}
    lines = [
        f"{place.get(name, f'two/{name}.jpg')},{label},{'val' if name in VAL else 'train'}"
        for name, label in CLASS_OF.items()
    ]
    (root / "data/dataset.csv").write_text("\n".join(["path,class,set", *lines]))


def of_isic(root: Path) -> None:
    """The same with 1.0 for 1 and images without their endings."""
    of_roboflow(root)
    for path in root.rglob("_classes.csv"):
        path.write_text(path.read_text().replace(" 1", " 1.0").replace(" 0", " 0.0").replace(".jpg", ""))


@pytest.mark.parametrize(
    "write", [in_one_folder, of_fastai, of_kaggle, of_roboflow, of_isic, of_hugging_face, with_several_roots]
)
def test_a_table_is_recognised_and_read(tmp_path: Path, write: object) -> None:
    write(tmp_path)  # type: ignore[operator]
    root = tmp_path / "data" if (tmp_path / "data").exists() else tmp_path
    assert read(root) == EXPECTED
    assert layout_of(root) == ("folder", "images with a table of their classes")
    assert check_dataset(root) == []
    data = ClassificationData(kind="folder", root=str(root), image_size=32)
    train, val = build_datasets(data, ClassificationAugment(), {}, 0)
    assert train.class_names == val.class_names == ["cat", "dog"]
    assert sorted(train[i][1] for i in range(4)) == [0, 0, 1, 1] and val[0][0].shape == (3, 32, 32)


def test_without_splits_a_fifth_of_each_class_is_val(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_images(tmp_path, {})
    (tmp_path / "labels.csv").write_text("\n".join(rows("{name}.jpg,{label}")))  # without a header, too
    with caplog.at_level(logging.INFO):
        found = read(tmp_path)
    assert "20 % of the images of each class, by a hash of their names, are val" in caplog.text
    for name in ("cat", "dog"):
        together = found["train"][name] + found["val"][name]
        assert sorted(together) == [each for each in CLASS_OF if CLASS_OF[each] == name]
        assert found["train"][name] and found["val"][name]


def test_numbers_are_classes_in_their_order(tmp_path: Path) -> None:
    write_images(tmp_path, {})
    labels = dict(zip(CLASS_OF, ("10.0", "2.0", "10.0", "2.0", "10.0", "2.0"), strict=True))
    (tmp_path / "labels.csv").write_text(
        "\n".join(["image,target", *(f"{a}.jpg,{b}" for a, b in labels.items())])
    )
    assert find_classes(tmp_path, "train").class_names() == ["2", "10"]


def test_rows_of_test_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    in_one_folder(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text().replace("a.jpg,cat,train", "a.jpg,cat,test"))
    with caplog.at_level(logging.INFO):
        assert read(tmp_path)["train"] == {"cat": ["c"], "dog": ["b", "d"]}
    assert "1 rows are of neither train nor val, and left out" in caplog.text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("a.jpg,cat", "z.jpg,cat", r"labels.csv:2: z.jpg: no such image below .* \(1 such rows\): add it"),
        ("a.jpg,cat", "a.jpg,", "labels.csv:2: a.jpg has no class: give it one"),
        ("a.jpg,cat", "b.jpg,cat", "b.jpg is 'dog' here and 'cat' in line 2: give each image one class"),
        ("a.jpg,cat,train", "a.jpg,cat,fold3", "labels.csv:2: split is 'fold3': give train, val or test"),
    ],
)
def test_a_row_that_cannot_be_used_is_one_line(tmp_path: Path, old: str, new: str, message: str) -> None:
    in_one_folder(tmp_path)
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_table_of_excel_in_utf_16_is_read(tmp_path: Path) -> None:
    lines = ["file\tlabel\tsplit", *rows("{name}.jpg\t{label}\t{split}")]
    (write_images(tmp_path, {}) / "labels.csv").write_bytes("\r\n".join(lines).encode("utf-16"))
    assert read(tmp_path) == EXPECTED


def test_names_in_another_encoding_are_refused_and_not_made_one(tmp_path: Path) -> None:
    lines = ["file;label", *(f"{name}.jpg;{['Bär', 'Bör'][i % 2]}" for i, name in enumerate(CLASS_OF))]
    (write_images(tmp_path, {}) / "labels.csv").write_bytes("\n".join(lines).encode("cp1252"))
    with pytest.raises(
        UserError, match="labels.csv cannot be read: line 2 is not in UTF-8; save it as UTF-8"
    ):
        find_classes(tmp_path, "train")


def test_a_table_of_something_else_may_have_any_encoding(folder: Path) -> None:
    (folder / "labels.csv").write_bytes("n\nBär\n".encode("cp1252"))
    assert find_classes(folder, "train").place == folder / "train"


def test_a_long_cell_is_of_no_concern(tmp_path: Path) -> None:
    long = "x" * 200_000
    lines = ["file,label,split,note", *(f"{row},{long}" for row in rows("{name}.jpg,{label},{split}"))]
    (write_images(tmp_path, {}) / "labels.csv").write_text("\n".join(lines))
    assert read(tmp_path) == EXPECTED


def test_a_name_of_two_images_must_say_which(tmp_path: Path) -> None:
    in_one_folder(tmp_path)
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "a.jpg", tmp_path / folder / "a.jpg")
    assert read(tmp_path) == EXPECTED  # the one beside the table
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(UserError, match="a.jpg may be .*x/a.jpg, .*y/a.jpg: give its folder, too"):
        read(tmp_path)


def test_an_image_of_several_classes_is_refused(tmp_path: Path) -> None:
    of_roboflow(tmp_path)
    path = tmp_path / "train/_classes.csv"
    path.write_text(path.read_text().replace("a.jpg, 1, 0", "a.jpg, 1, 1"))
    with pytest.raises(UserError, match="_classes.csv:2: an image of several classes, cat, dog"):
        read(tmp_path)


def test_class_folders_come_before_a_table_and_other_tables_are_none(folder: Path) -> None:
    (folder / "labels.csv").write_text("filename,label\n0.png,other\n")
    assert find_classes(folder, "train").class_names() == ["ant", "bee", "cat"]
    (folder / "labels.csv").unlink()
    (folder / "data.csv").write_text("when,how many,where\n1,2,3\n")
    assert layout_of(folder) == ("folder", "class folders")


def test_a_run_knows_its_table(tmp_path: Path) -> None:
    """A class that is changed there makes it another data set."""
    in_one_folder(tmp_path)
    before = hash_of_files(ImageFolder(tmp_path, "train", lambda image: image, 0), tmp_path)  # type: ignore[arg-type, return-value]
    path = tmp_path / "labels.csv"
    path.write_text(path.read_text().replace("a.jpg,cat", "a.jpg,dog").replace("b.jpg,dog", "b.jpg,cat"))
    after = hash_of_files(ImageFolder(tmp_path, "train", lambda image: image, 0), tmp_path)  # type: ignore[arg-type, return-value]
    assert before != after


@pytest.mark.parametrize(("table", "disk"), [("NFC", "NFD"), ("NFD", "NFC")])
@pytest.mark.parametrize("place", ["", "Ställe/"])
def test_letters_may_be_taken_apart(tmp_path: Path, table: str, disk: str, place: str) -> None:
    """In names of files and classes, by the table or by the disk."""
    lines = ["filename,label"]
    for split, count in (("train", 3), ("val", 2)):
        for i in range(count):
            path = tmp_path / unicodedata.normalize(disk, f"{place}Käfer{split}{i}.jpg")
            path.parent.mkdir(exist_ok=True)
            Image.new("RGB", (8, 8), (i, 0, 0)).save(path)
            lines.append(unicodedata.normalize(table, f"{place}Käfer{split}{i}.jpg,Bär"))
        (tmp_path / f"{split}.csv").write_text("\n".join(lines), encoding="utf-8")
        lines = ["filename,label"]
        table = "NFC"
    for split, count in (("train", 3), ("val", 2)):
        where = find_classes(tmp_path, split)  # type: ignore[arg-type]
        assert where.class_names() == [unicodedata.normalize("NFC", "Bär")]
        found = where.images(unicodedata.normalize("NFD", "Bär"))
        assert len(found) == count and all(Path(each).is_file() for each in found)


def test_a_row_whose_image_is_gone_takes_none_of_the_other_split(tmp_path: Path) -> None:
    write_images(tmp_path / "train", {})
    write_images(tmp_path / "val", {})
    lines = [
        f"{split}/{name}.jpg,{label},{split}"
        for split in ("train", "val")
        for name, label in CLASS_OF.items()
    ]
    (tmp_path / "labels.csv").write_text("\n".join(["file,label,split", *lines]))
    assert read(tmp_path)["train"] == {"cat": ["a", "c", "e"], "dog": ["b", "d", "f"]}
    (tmp_path / "train/c.jpg").unlink()
    with pytest.raises(
        UserError, match=r"train/c.jpg: no such image below .*, only .*val/c.jpg \(1 such rows\)"
    ):
        read(tmp_path)


@pytest.mark.parametrize(("train", "val"), [("Train", "Valid"), ("TRAIN", "VAL")])
def test_capitals_of_folders_and_tables_do_not_matter(tmp_path: Path, train: str, val: str) -> None:
    of_roboflow(tmp_path)
    (tmp_path / "train").rename(tmp_path / train)
    (tmp_path / "valid").rename(tmp_path / val)
    assert read(tmp_path) == EXPECTED


@pytest.mark.parametrize("name", ["Labels.csv", "Metadata.csv", "Train.csv"])
def test_a_table_in_capitals_beside_class_folders_is_none(tmp_path: Path, name: str) -> None:
    write_images(tmp_path, {each: f"{label}s" for each, label in CLASS_OF.items()})
    (tmp_path / name).write_text("filename,age\na.jpg,33\nb.jpg,44\n")
    assert find_classes(tmp_path, "train").class_names() == ["cats", "dogs"]
