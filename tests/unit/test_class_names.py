"""A `|` in a class name, where photos may have several labels and `|` joins them."""

import pytest

import pocketlens as pl
from pocketlens.core.dataset import Sample, make_dataset
from pocketlens.core.errors import DataError
from pocketlens.workflows.data import as_dataset, read_dataset
from support import layouts
from support.layouts import Shot

SHOTS = [Shot(f"{i}.jpg", ("a|b", "c")[i % 2], i) for i in range(6)]
MESSAGE = r"class name 'a\|b' has a \|.*rename: \{'a\|b': 'a/b'\}"


@pytest.mark.parametrize("name", ["coco", "voc", "yolo"])
def test_refused_for_photos_and_kept_for_boxes(name, tmp_path):
    place = layouts.write(name, tmp_path / "d", SHOTS)
    with pytest.raises(DataError, match=MESSAGE) as caught:
        read_dataset(place)
    assert "\n" not in str(caught.value)
    assert read_dataset(place, labels="boxes").classes == ("a|b", "c")


def test_kept_where_a_photo_has_one_label(tmp_path):
    place = layouts.write("image-folder", tmp_path / "d", SHOTS)
    assert read_dataset(place).classes == ("a|b", "c")
    place = layouts.write("aihub", tmp_path / "e", SHOTS)
    assert read_dataset(place).classes == ("a|b", "c")


def test_a_yaml_file_renames_it_away_or_in(tmp_path):
    layouts.write("voc", tmp_path / "d", SHOTS)
    path = tmp_path / "x.yaml"
    path.write_text("format: voc\npath: d\nrename: {'a|b': a/b}")
    assert read_dataset(path).classes == ("a/b", "c")
    path.write_text("format: voc\npath: d\nrename: {'a|b': a/b, c: 'd|e'}")
    with pytest.raises(DataError, match=r"'d\|e' has a \|"):
        read_dataset(path)
    path.write_text("format: voc\npath: d\nclasses: [c]")
    assert read_dataset(path).classes == ("c",)


def test_data_made_in_python_is_refused_by_training(tmp_path):
    samples = [Sample(f"{i}.jpg", ("a|b",)) for i in range(3)]
    data = make_dataset(tmp_path, "mine", samples, task="multi_label")
    with pytest.raises(DataError, match=MESSAGE):
        as_dataset(data)
    with pytest.raises(DataError, match=MESSAGE):
        pl.train(data, out=tmp_path / "out", model="test_byobnet", weights="none")
    assert not (tmp_path / "out").exists()
