import json

import pytest

from pocketlens.core.dataset import Box
from pocketlens.core.errors import DataError, UserError
from pocketlens.workflows.boxes import match_boxes, read_boxes
from support import layouts

EXPECTED = {
    name: [pytest.approx(box, abs=0.01) for _, box in things]
    for name, things in layouts.PHOTOS.items()
    if things
}


@pytest.mark.parametrize("name", sorted(layouts.MAKERS))
def test_every_format(name, tmp_path):
    found = read_boxes(layouts.MAKERS[name](tmp_path))
    assert {key.rsplit("/", 1)[-1]: boxes for key, boxes in found.items() if boxes} == EXPECTED


def test_files_without_their_photos(tmp_path):
    layouts.coco(tmp_path / "c")
    found = read_boxes(tmp_path / "c" / "annotations" / "instances_train2017.json")
    assert found == EXPECTED | {"3.jpg": []}
    (tmp_path / "a.xml").write_text(layouts.voc_xml("1.jpg", [("x", (1, 2, 3, 4))]))
    assert read_boxes(tmp_path / "a.xml") == {"1.jpg": [Box(1, 2, 3, 4)]}
    pill = layouts.pill("K-1", "p.png", [1, 2, 3, 4])
    pill["annotations"][0]["image_id"] = 99  # as some of AI-Hub's files have it
    (tmp_path / "a.json").write_text(json.dumps(pill))
    assert read_boxes(tmp_path / "a.json") == {"p.png": [Box(1, 2, 3, 4)]}


def test_plain_json(tmp_path):
    path = tmp_path / "boxes.json"
    path.write_text('{"a.jpg": [[1, 2, 3, 4], [0.5, 0, 9, 9]], "b/c.jpg": [1, 2, 3, 4], "d": []}')
    assert read_boxes(path) == {
        "a.jpg": [Box(1, 2, 3, 4), Box(0.5, 0, 9, 9)],
        "b/c.jpg": [Box(1, 2, 3, 4)],
        "d": [],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "no JSON"),
        ("[[1, 2, 3, 4]]", "must be an object"),
        ('{"a.jpg": [[1, 2, 3]]}', "'a.jpg' needs a list"),
        ('{"a.jpg": 3}', "needs a list"),
        ('{"a.jpg": [[1, 2, 3, NaN]]}', "needs a list"),
        ('{"a.jpg": []}', "has no box"),
    ],
)
def test_mistakes(text, message, tmp_path):
    (tmp_path / "b.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_boxes(tmp_path / "b.json")
    with pytest.raises(DataError, match="doesn't exist"):
        read_boxes(tmp_path / "none.json")


def test_matching():
    one, two = [Box(1, 1, 1, 1)], [Box(2, 2, 2, 2)]
    assert match_boxes(["/x/a.jpg", "/x/b.jpg"], {"a.jpg": one}) == [one, []]
    assert match_boxes(["/x/p/a.jpg", "/x/q/a.jpg"], {"p/a.jpg": one, "q/a.jpg": two}) == [one, two]
    assert match_boxes(["/x/a.jpg"], {"a": one}) == [one]  # VOC names without an ending
    assert match_boxes(["/x/a.jpg", "/x/a.png"], {"a.jpg": one}) == [one, []]
    assert match_boxes(["a.jpg", "a.jpg"], {"a.jpg": one}) == [one, one]
    with pytest.raises(UserError, match="for other images, such as a"):
        match_boxes(["/x/c.jpg"], {"a.jpg": one})
    with pytest.raises(UserError, match="paths"):
        match_boxes(["/x/p/a.jpg", "/x/q/a.jpg"], {"a.jpg": one})
    with pytest.raises(UserError, match="paths"):
        match_boxes(["/x/a.jpg"], {"p/a.jpg": one, "q/a.jpg": two})
