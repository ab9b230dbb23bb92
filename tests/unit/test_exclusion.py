import os

import pytest

from pocketlens.core.dataset import Box, Sample, make_dataset
from pocketlens.core.errors import DataError, UserError
from pocketlens.core.exclusion import Excluded, exclude, read_exclusions, write_exclusions


def dataset(root, *samples):
    return make_dataset(root, "test", list(samples))


def test_round_trip_of_awkward_names(tmp_path):  # Data sets, 12
    names = [
        "=cmd().jpg",
        "-a.jpg",
        "@b.jpg",
        "한국어 🍎.jpg",
        'a"b,c.jpg',
        "new\nline.jpg",
        "b\udcff.jpg",
    ]
    file = tmp_path / "out.csv"
    assert write_exclusions(file, [Excluded(name, None, "=1+1") for name in names]) == len(names)
    text = file.read_text(encoding="utf-8", errors="surrogateescape")
    assert not any(
        cell.startswith(("=", "@", "-")) for line in text.split("\n") for cell in line.split(",")
    )
    data = dataset(tmp_path, Sample("kept.jpg", ("a",)), *(Sample(name, ("a",)) for name in names))
    kept = exclude(data, read_exclusions(file))
    assert [sample.path for sample in kept.dataset.samples] == ["kept.jpg"]
    assert kept.unmatched == ()


def test_a_box_or_the_whole_photo(tmp_path):
    one, two = Box(1.23456789, 2, 3, 4), Box(5, 6, 7, 8)
    data = dataset(tmp_path, *(Sample(p, ("a",), box=b) for p in ("x", "y") for b in (one, two)))
    file = tmp_path / "out.csv"
    write_exclusions(file, [Excluded("x", one, "r"), Excluded("y", None, "r")])
    kept = exclude(data, read_exclusions(file)).dataset
    assert [(s.path, s.box) for s in kept.samples] == [("x", two)]
    assert kept.classes == data.classes


def test_written_by_hand(tmp_path):
    file = tmp_path / "out.csv"
    file.write_text(f"filename\n./a/x.jpg\n{tmp_path / 'y.jpg'}\nno.jpg\n\n", encoding="utf-8-sig")
    data = dataset(tmp_path, *(Sample(p, ("a",)) for p in ("a/x.jpg", "y.jpg", "z.jpg")))
    kept = exclude(data, read_exclusions(file))
    assert [s.path for s in kept.dataset.samples] == ["z.jpg"]
    assert kept.unmatched == ("no.jpg",)


def test_errors(tmp_path):
    file = tmp_path / "x.csv"
    with pytest.raises(DataError, match="can't be read"):
        read_exclusions(file)
    file.write_text("name\na\n")
    with pytest.raises(DataError, match="no column 'filename'"):
        read_exclusions(file)
    with pytest.raises(UserError, match="no list of excluded"):  # the user's own table
        write_exclusions(file, [])
    file.write_text('filename,box\na,"1,2,3"\n')
    with pytest.raises(DataError, match="line 2: the box must be"):
        read_exclusions(file)
    with pytest.raises(UserError, match="can't be written"):
        write_exclusions(tmp_path / "none" / "x.csv", [])
    with pytest.raises(DataError, match="names all of them"):
        exclude(dataset(tmp_path, Sample("a", ("a",))), [Excluded("a", None, "")])


def test_an_earlier_list_is_replaced_whole(tmp_path):
    file = tmp_path / "x.csv"
    write_exclusions(file, [Excluded("a", None, "")])
    write_exclusions(file, [Excluded("b", None, "")])
    assert [entry.filename for entry in read_exclusions(file)] == ["b"]
    assert os.listdir(tmp_path) == ["x.csv"]
