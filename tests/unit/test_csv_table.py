"""Numbers in comments are lines of the list of bad input that must be met (Data sets)."""

import pytest

from pocketlens.core.errors import DataError
from pocketlens.datasets.csv import Config, read, recognises


def table(root, text, *photos, name="labels.csv", encoding="utf-8"):
    for photo in photos:
        (root / photo).parent.mkdir(parents=True, exist_ok=True)
        (root / photo).touch()
    (root / name).write_bytes(text.encode(encoding))
    return root


def kinds(data):
    return {p.kind: (p.count, p.examples) for p in data.problems}


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_columns_delimiters_encodings(tmp_path, delimiter, encoding):
    text = "Image,patient_id,Label,split,camera\nx/1.jpg,p1,사과,train,A\n2.jpg,,b,Test,\n"
    table(tmp_path, text.replace(",", delimiter), "x/1.jpg", "2.jpg", encoding=encoding)
    data = read(tmp_path, Config())
    assert [(s.path, s.labels, s.group, s.part, s.extra) for s in data.samples] == [
        ("x/1.jpg", ("사과",), "p1", "train", ("A",)),
        ("2.jpg", ("b",), None, "test", ("",)),
    ]
    assert data.extra_columns == ("camera",)
    assert data.task == "single_label"


@pytest.mark.parametrize(
    "image", ["image", "filename", "file", "path", "filepath", "image_path", "image_id"]
)
@pytest.mark.parametrize("label", ["label", "labels", "class", "category", "tags", "target"])
def test_usual_names(tmp_path, image, label):
    table(tmp_path, f"{label},{image}\na,1.jpg\n", "1.jpg", name="any.csv")
    assert recognises(tmp_path)
    assert recognises(tmp_path / "any.csv")
    assert read(tmp_path / "any.csv", Config()).samples[0].labels == ("a",)


def test_named_columns(tmp_path):
    table(tmp_path, "f,l,g,s,patient_id\n1.jpg,a,x,val,p\n", "1.jpg")
    config = Config(image_column="f", label_column="L", group_column="g", split_column="s")
    sample = read(tmp_path, config).samples[0]
    assert (sample.labels, sample.group, sample.part, sample.extra) == (("a",), "x", "val", ("p",))
    no_group = Config(image_column="f", label_column="l", group_column="none")
    assert read(tmp_path, no_group).samples[0].group is None
    with pytest.raises(DataError, match="no column 'zzz'; it has f, l, g"):
        read(tmp_path, Config(image_column="zzz"))
    with pytest.raises(DataError, match="by `image_column:` in a YAML"):
        read(tmp_path, Config())


def test_several_labels(tmp_path):
    table(
        tmp_path,
        "image,labels\n1.jpg,a|b\n2.jpg,\n3.jpg,b\n3.jpg,c\n",
        *(f"{i}.jpg" for i in (1, 2, 3)),
    )
    data = read(tmp_path, Config())
    assert data.task == "multi_label"
    assert [s.labels for s in data.samples] == [("a", "b"), (), ("b", "c")]
    assert data.classes == ("a", "b", "c")


def test_multi_label_may_be_asked_for(tmp_path):
    table(tmp_path, "image,labels\n1.jpg,a\n2.jpg,\n", "1.jpg", "2.jpg")
    assert len(read(tmp_path, Config(multi_label=True))) == 2
    data = read(tmp_path, Config())
    assert (data.task, kinds(data)) == ("single_label", {"missing_label": (1, ("2.jpg",))})


def test_missing_photo_and_split(tmp_path):  # 14
    table(
        tmp_path,
        "image,label,split\n1.jpg,a,train\ngone.jpg,b,train\n2.jpg,a,later\n,a,test\n",
        "1.jpg",
        "2.jpg",
    )
    data = read(tmp_path, Config())
    assert kinds(data) == {
        "missing_photo": (2, ("gone.jpg", "")),
        "unknown_split": (1, ("2.jpg: later",)),
    }
    assert data.classes == ("a",)


def test_photo_found_by_its_name_unless_ambiguous(tmp_path):  # 14
    text = "image_id,label\nISIC_1,a\n2.jpg,b\nsame,c\n"
    table(tmp_path, text, "images/ISIC_1.jpg", "images/2.jpg", "x/same.jpg", "y/same.jpg")
    data = read(tmp_path, Config())
    assert [s.path for s in data.samples] == ["images/ISIC_1.jpg", "images/2.jpg"]
    assert kinds(data) == {"ambiguous_photo": (1, ("same",))}


def test_links_of_one_photo_are_no_choice(tmp_path):
    table(tmp_path, "image,label\nx,a\n", "p/x.jpg")
    (tmp_path / "latest").symlink_to(tmp_path / "p")
    (tmp_path / "gone.jpg").symlink_to("nowhere.jpg")
    data = read(tmp_path, Config())
    assert [s.path for s in data.samples] == ["latest/x.jpg"]
    assert kinds(data) == {"broken_link": (1, ("gone.jpg",))}


def test_a_table_given_by_name_does_not_speak_for_other_photos(tmp_path):
    table(tmp_path, "image,label\np/x.jpg,a\n", "p/x.jpg", "p/y.jpg", "q/z.jpg")
    assert kinds(read(tmp_path, Config())) == {"photo_without_annotation": (1, ("p/y.jpg",))}
    assert read(tmp_path / "labels.csv", Config()).problems == ()


def test_windows_and_absolute_paths(tmp_path):
    table(tmp_path, f"image,label\nx\\1.jpg,a\n{tmp_path}/x/2.jpg,b\n", "x/1.jpg", "x/2.jpg")
    assert [s.path for s in read(tmp_path, Config()).samples] == ["x/1.jpg", "x/2.jpg"]


def test_repeated_and_contradicting_rows(tmp_path):  # 11
    rows = "1.jpg,a,train 1.jpg,a,train 2.jpg,a,train 2.jpg,b,train 3.jpg,a,train 3.jpg,a,test"
    text = "\n".join(["image,label,split", *rows.split()])
    data = read(table(tmp_path, text, "1.jpg", "2.jpg", "3.jpg"), Config())
    assert [(s.path, s.part) for s in data.samples] == [
        ("1.jpg", "train"),
        ("3.jpg", "train"),
        ("3.jpg", "test"),
    ]
    assert kinds(data) == {
        "repeated_row": (1, ("1.jpg",)),
        "conflicting_rows": (1, ("2.jpg: a / b",)),
    }


def test_short_and_blank_rows(tmp_path):
    table(tmp_path, "image,label,extra\n\n1.jpg,a\n,,\n", "1.jpg")
    assert [s.extra for s in read(tmp_path, Config()).samples] == [("",)]


@pytest.mark.parametrize(
    "data", [b"image,label\n1.jpg,\xbb\xe7\n", "image,label\n".encode("utf-16")]
)
def test_not_utf8(tmp_path, data):
    (tmp_path / "labels.csv").write_bytes(data)
    with pytest.raises(DataError, match="UTF-8"):
        read(tmp_path, Config())


def test_broken_tables(tmp_path):
    for text in ("", "image,label\n", 'image,label\n1.jpg,"' + "a" * 200_000):
        (tmp_path / "labels.csv").write_text(text)
        with pytest.raises(DataError):
            read(tmp_path, Config())


def test_not_recognised(tmp_path):
    (tmp_path / "notes.csv").write_text("when,who\n")
    assert not recognises(tmp_path)
    (tmp_path / "notes.csv").unlink()
    for name in ("train.csv", "test.csv"):
        (tmp_path / name).write_text("image,label\n")
    assert not recognises(tmp_path)
    with pytest.raises(DataError, match="has no labels"):
        read(tmp_path, Config())


def test_class_names_are_kept_as_text(tmp_path):  # 12
    names = ["..", "CON", "<script>alert(1)</script>", "=cmd()", "a" * 300, "한국어 🍎", "A", "a"]
    table(
        tmp_path,
        "image,label\n" + "".join(f"{i}.jpg,{n}\n" for i, n in enumerate(names)),
        *(f"{i}.jpg" for i in range(8)),
    )
    assert set(read(tmp_path, Config()).classes) == set(names)
