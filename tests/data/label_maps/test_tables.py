"""Tables of classes in the forms that people and tools write."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from mscsa.data.label_maps.tables import find_table, plain_table
from mscsa.errors import UserError

ROAD, CAR = (128, 64, 128), (0, 0, 142)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("class_dict.csv", "name,r,g,b\nroad,128,64,128\ncar,0,0,142\n"),
        ("class_dict.csv", "\ufeffname; r; g; b\nroad; 128; 64; 128\ncar; 0; 0; 142\n"),
        ("class_dict.csv", "class,red,green,blue,note\nroad,128,64,128,x\ncar,0,0,142,y\n"),
        ("classes.csv", 'label,color\nroad,#804080\ncar,"0, 0, 142"\n'),
        ("label_colors.txt", "128 64 128\troad\n0 0 142\tcar\n"),
        ("classes.txt", "road 128,64,128\ncar 0,0,142\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nroad:128,64,128::\ncar:0,0,142::\n"),
        ("classes.json", '{"road": [128, 64, 128], "car": [0, 0, 142]}'),
        ("classes.json", '[{"name": "road", "color": [128, 64, 128]}, {"name": "car", "color": "#00008e"}]'),
    ],
)
def test_colours(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = find_table([tmp_path])
    assert table is not None and table.file == tmp_path / name
    assert table.names == ("road", "car") and table.colours == ((ROAD, 0), (CAR, 1))
    assert dict(table.values) == {0: 0, 1: 1, 255: 255}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.csv", "value,name\n7,road\n26,car\n"),
        ("_classes.csv", "Pixel Value, Class\n7, road\n26, car\n"),
        ("id2label.json", '{"26": "car", "7": "road"}'),
        ("classes.json", '{"car": 26, "road": 7}'),
        ("classes.txt", "7: road\n26: car\n"),
        ("classes.txt", "7\troad\n26\tcar\n"),
    ],
)
def test_values(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    table = find_table([tmp_path])
    assert table is not None and table.names == ("road", "car") and table.colours == ()
    assert dict(table.values) == {7: 0, 26: 1, 255: 255}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", " road \n\ncar"),
        ("classes.txt", "\ufeffroad\ncar\n"),
        ("labels.txt", "__ignore__\nroad\ncar\n"),
        ("classes.json", '["road", "car"]'),
    ],
)
def test_names_alone_are_places(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert find_table([tmp_path]) == plain_table(("road", "car"), tmp_path / name)


def test_names_that_begin_with_numbers_stay_names(tmp_path: Path) -> None:
    for text in ("2 wheels\ncar\n", "7\n26\n", "2 wheels\n2 doors\n"):
        (tmp_path / "classes.txt").write_text(text)
        table = find_table([tmp_path])
        assert table is not None and list(table.names) == text.split("\n")[:2]


def test_rows_of_one_name_are_one_class_and_void_is_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rows = "name,r,g,b\nroad,1,1,1\nVoid,0,0,0\ncar,2,2,2\nroad,3,3,3\n"
    (tmp_path / "class_dict.csv").write_text(rows)
    with caplog.at_level(logging.INFO):
        table = find_table([tmp_path])
    assert table is not None and table.names == ("road", "car")
    assert [label for _, label in table.colours] == [0, 255, 1, 0]
    assert dict(table.values) == {0: 0, 1: 255, 2: 1, 3: 0, 255: 255}  # grey maps: rows of the table
    assert "Void is no class by its name, and ignored" in caplog.text


def test_a_table_that_says_more_comes_first(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("a\nb\n")
    (tmp_path / "labelmap.txt").write_text("road:1,2,3::\ncar:3,2,1::\n")
    table = find_table([tmp_path])
    assert table is not None and table.names == ("road", "car")
    assert find_table([tmp_path / "nowhere"]) is None


def test_what_a_class_is_in_a_mirror_image(tmp_path: Path) -> None:
    (tmp_path / "classes.csv").write_text(
        "value,name,flip_to\n0,left,right\n1,right,left\n2,wheel,\n3,hat,hat\n"
    )
    table = find_table([tmp_path])
    assert table is not None and table.flips == (("left", "right"),)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "classes.csv",
            "a,b\n1,2\n",
            r"has the columns \['a', 'b'\]: give a first line name,r,g,b or name,value",
        ),
        (
            "classes.csv",
            "name,value\nroad,300\n",
            "classes.csv:2: the value of 'road' is '300': give 0 to 255",
        ),
        ("classes.csv", "name,r,g,b\nroad,1,2,x\n", "classes.csv:2: the colour of 'road' is"),
        ("classes.csv", "name,value\nroad,1\ncar,1\n", "gives the value 1 twice: give each class its own"),
        ("classes.csv", "name,r,g,b\nroad,1,1,1\ncar,1,1,1\n", r"gives the colour \(1, 1, 1\) twice"),
        ("classes.csv", "name,value\n,1\n", "classes.csv:2: a class without a name"),
        (
            "classes.csv",
            "name,value\nroad,1\ncar,\n",
            "some classes have a colour or value and some have none",
        ),
        ("classes.json", "{", "cannot be read as JSON"),
        ("classes.json", "3", "give names, or objects with name and color or value"),
        ("classes.json", "[]", "give names, or objects"),
        ("classes.csv", "name,value\nvoid,0\n", "names 0 classes: 1 to 255 are possible"),
    ],
)
def test_a_table_that_is_none_is_one_line(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        find_table([tmp_path])
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_left_out_beside_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    (tmp_path / "labels.csv").write_text("when,where\n1,2\n")
    assert find_table([tmp_path]) == plain_table(("road", "car"), tmp_path / "classes.txt")
    assert "labels.csv has the columns ['when', 'where']" in caplog.text and "left out" in caplog.text
