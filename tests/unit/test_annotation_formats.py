"""What one annotated format has and the others don't."""

import json

import pytest
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.errors import DataError
from pocketlens.datasets._xml import read_xml
from pocketlens.workflows.data import read_dataset
from support import layouts


def kinds(data):
    return {problem.kind: problem.count for problem in data.problems}


def test_coco_parts_and_other_files(tmp_path):
    layouts.coco(tmp_path, part="train2017")
    layouts.coco(tmp_path, part="val2017")
    (tmp_path / "annotations" / "captions_val2017.json").write_text('{"images": [{"id": 1}]}')
    (tmp_path / "train2017" / "stray.jpg").write_bytes(b"x")
    data = read_dataset(tmp_path)
    assert sorted({(s.part, s.path.split("/")[0]) for s in data.samples}) == [
        ("train", "train2017"),
        ("val", "val2017"),
    ]
    assert kinds(data) == {"photo_without_annotation": 1}
    one = read_dataset(tmp_path / "annotations" / "instances_val2017.json")
    assert (len(one), kinds(one)) == (3, {})


def test_coco_beside_its_photos(tmp_path):
    for part in ("train", "valid"):
        layouts.photo(tmp_path / part / "1.jpg", len(part))
        value = layouts.instances({"1.jpg": [("cat", (1, 2, 3, 4))]})
        (tmp_path / part / "_annotations.coco.json").write_text(json.dumps(value))
    data = read_dataset(tmp_path, labels="boxes")
    assert [(s.path, s.part) for s in data.samples] == [
        ("train/1.jpg", "train"),
        ("valid/1.jpg", "val"),
    ]


def test_coco_findings(tmp_path):
    layouts.coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    value = json.loads(path.read_text())
    good = value["annotations"][0]
    value["annotations"] += [
        good | {"image_id": 99},
        good | {"category_id": 99},
        good | {"category_id": [1]},
        good | {"bbox": [1, 2]},
        good | {"iscrowd": 1},
        "text",
    ]
    value["images"] += [{"id": 7}, {"id": 8, "file_name": "none.jpg"}]
    path.write_text(json.dumps(value))
    data = read_dataset(tmp_path, labels="boxes")
    assert len(data) == 3
    assert kinds(data) == {
        "unreadable_annotation": 2,
        "unknown_class": 2,
        "malformed_box": 1,
        "missing_photo": 1,
        "orphan_annotation": 1,
        "crowd_box": 1,
        "photo_without_box": 1,
    }


def test_xml_expands_nothing(tmp_path):
    layouts.voc(tmp_path)
    entities = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]>'
    fetched = '<!DOCTYPE x SYSTEM "file:///etc/passwd">'
    for name, kind in (("bomb", entities), ("fetch", fetched)):
        (tmp_path / "Annotations" / f"{name}.xml").write_text(
            f"{kind}<annotation><filename>1.jpg</filename></annotation>"
        )
    with pytest.raises(DataError, match="document type"):
        read_xml(str(tmp_path / "Annotations" / "bomb.xml"))
    data = read_dataset(tmp_path)
    assert (len(data), kinds(data)) == (3, {"unreadable_annotation": 2})


@pytest.mark.parametrize("text", ["", "<a>", "<a/><b/>", "\0", "<a " + "x" * 99])
def test_xml_that_is_none(text, tmp_path):
    (tmp_path / "x.xml").write_text(text)
    with pytest.raises(DataError, match="no XML"):
        read_xml(str(tmp_path / "x.xml"))


def test_voc_lists_and_renamed_photos(tmp_path):
    layouts.voc(tmp_path)
    sets = tmp_path / "ImageSets" / "Main"
    sets.mkdir(parents=True)
    (sets / "trainval.txt").write_text("1\n2\n")
    (sets / "val.txt").write_text("2\n")
    path = tmp_path / "Annotations" / "1.xml"
    path.write_text(path.read_text().replace("1.jpg", "IMG_renamed.jpg"))
    data = read_dataset(tmp_path)
    assert {s.path[-5:]: s.part for s in data.samples} == {"1.jpg": "train", "2.jpg": "val"}
    assert kinds(data)["unlisted_annotation"] == 1


def test_voc_findings(tmp_path):
    layouts.voc(tmp_path)
    text = layouts.voc_xml("1.jpg", [("cat", (1, 1, 5, 5)), ("", (1, 1, 5, 5))])
    text = text.replace("</annotation>", "<object><name>dog</name></object></annotation>")
    (tmp_path / "Annotations" / "1.xml").write_text(text)
    data = read_dataset(tmp_path, labels="boxes")
    assert len(data) == 2
    assert kinds(data) == {"missing_label": 1, "malformed_box": 1, "photo_without_box": 1}


def test_yolo_without_a_table(tmp_path):
    layouts.yolo(tmp_path, part="train", table=False)
    layouts.yolo(tmp_path, part="test", table=False)
    data = read_dataset(tmp_path)
    assert data.classes == ("0", "1")
    assert {s.part for s in data.samples} == {"train", "test"}
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert read_dataset(tmp_path).classes == ("cat", "dog")


def test_yolo_as_roboflow_writes_it(tmp_path):
    layouts.yolo(tmp_path, part="x")
    for kind in ("images", "labels"):
        (tmp_path / "train").mkdir(exist_ok=True)
        (tmp_path / kind / "x").rename(tmp_path / "train" / kind)
        (tmp_path / kind).rmdir()
    (tmp_path / "data.yaml").write_text(
        "train: ../train/images\ntest: ../test/images\nnames: {0: cat, 1: dog}\n"
    )
    data = read_dataset(tmp_path)
    assert (len(data), data.samples[0].part) == (3, "train")
    assert kinds(data) == {"missing_part": 1}
    assert read_dataset(tmp_path / "data.yaml") == data


def test_yolo_list_of_photos(tmp_path):
    layouts.yolo(tmp_path)
    (tmp_path / "train.txt").write_text("./images/train/1.jpg\nimages/train/none.jpg\n")
    (tmp_path / "data.yaml").write_text("train: train.txt\nnames: [cat, dog]")
    data = read_dataset(tmp_path)
    assert ([s.path for s in data.samples], kinds(data)) == (
        ["images/train/1.jpg"],
        {"missing_photo": 1},
    )
    (tmp_path / "data.yaml").write_text("train: nowhere\nnames: [cat, dog]")
    with pytest.raises(DataError, match="aren't there"):
        read_dataset(tmp_path)


def test_yolo_lines(tmp_path):
    layouts.yolo(tmp_path)
    (tmp_path / "labels" / "train" / "1.txt").write_text(
        "0 0.25 0.25 0.5 0.5 0.9\n1 0 0 0.5 0 0.5 0.5 0.25 0.5\n\n7 0 0 1 1\nx\n0 a b c d\n0 1 2\n"
    )
    data = read_dataset(tmp_path, labels="boxes")
    found = [(s.labels[0], s.box) for s in data.samples if s.path.endswith("1.jpg")]
    assert found == [("cat", Box(0, 0, 32, 24)), ("dog", Box(0, 0, 32, 24))]
    assert kinds(data) == {"unknown_class": 2, "malformed_box": 2, "photo_without_box": 1}


def test_yolo_boxes_are_of_the_upright_photo(tmp_path):
    layouts.yolo(tmp_path, {"1.jpg": [("cat", (0, 0, 64, 48))]})
    path = tmp_path / "images" / "train" / "1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)
    assert read_dataset(tmp_path, labels="boxes").samples[0].box == Box(0, 0, 48, 64)
    path.write_bytes(b"no photo")
    with pytest.raises(DataError, match="size can't be read"):
        read_dataset(tmp_path, labels="boxes")
