"""Boxes from the annotation to the answer, and classes that only one part has."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest

import pocketlens as pl
from pocketlens.cli import run
from pocketlens.workflows.check import check
from pocketlens.workflows.data import read_dataset
from support import layouts

TINY = {"model": "test_byobnet", "weights": "none", "image_size": 32, "epochs": 1}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))


@pytest.mark.real
def test_real_pills(data_dir, tmp_path):
    """A bundle of pills names the drug of each box, and tells what is known of it."""
    data = read_dataset(data_dir / "pill_aihub")
    photos = (data_dir / "pill_aihub" / "test_images").iterdir()
    counts = Counter(Path(sample.path).name for sample in data.samples)
    photo = max(photos, key=lambda path: (counts[path.name], path))
    few = [s for i, s in enumerate(data.samples) if i % 8 == 0]
    data = data.subset([*few, *(s for s in data.samples if s.path.endswith(photo.name))])
    bundle = pl.train(data, out=tmp_path / "a", **TINY)
    assert bundle.manifest.preprocess.box_margin == 0.1
    assert len(bundle.manifest.classes) == 17
    boxes = data_dir / "pill_aihub" / "test_annotations"
    command = ["predict", str(tmp_path / "a"), str(photo), "--boxes", str(boxes)]
    assert run([*command, "--out", str(tmp_path / "p")]) == 0
    found = json.loads((tmp_path / "p" / "predictions.json").read_text("utf-8"))
    expected = {s.box for s in data.samples if s.path.endswith(photo.name)}
    assert len(expected) > 1
    assert Counter(tuple(item["box"]) for item in found) == Counter(list(expected))
    for item in found:
        assert item["info"] == data.class_info[item["label"]]
        assert item["info"]["dl_name"]
    with (tmp_path / "p" / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["box"] for row in rows] == [
        ",".join(f"{v:g}" for v in item["box"]) for item in found
    ]
    with pl.load(bundle) as predictor:
        answer = predictor.predict([photo], boxes=[min(expected)])[0]
    assert answer.label in data.classes
    assert answer.info["dl_mapping_code"] == answer.label


@pytest.fixture
def original_job(tmp_path):
    """73 classes to train, 54 to test, 47 of them the same."""
    codes = [f"K-{i:06d}" for i in range(80)]
    for part, chosen in (("train", codes[:73]), ("test", codes[26:])):
        photos = {
            f"{part}{k}.jpg": [
                (code, (x, y, 14, 20))
                for code, (x, y) in zip(
                    chosen[k // 2 * 8 : k // 2 * 8 + 8],
                    [(x, y) for x in (1, 17, 33, 49) for y in (1, 25)],
                    strict=False,
                )
            ]
            for k in range(2 * 10)
        }
        layouts.aihub(tmp_path / "d", {k: v for k, v in photos.items() if v}, part=part)
    return tmp_path / "d"


def test_classes_of_one_part_only(original_job, tmp_path, capsys):  # Data sets 15
    data = read_dataset(original_job)
    labels = {p: {s.labels for s in data.samples if s.part == p} for p in ("train", "test")}
    common = labels["train"] & labels["test"]
    assert (len(labels["train"]), len(labels["test"]), len(common)) == (73, 54, 47)
    problems = {p.kind: p.count for p in check(data).problems}
    assert problems["unknown_test_class"] == 7
    bundle = pl.train(data, out=tmp_path / "a", **TINY)
    assert len(bundle.manifest.classes) == 73
    told = capsys.readouterr().err
    assert "no training photo of K-000073" in told
    assert "no test sample of 26 classes, such as K-000000" in told
    result = pl.evaluate(bundle, data)
    assert len(result.unknown_classes) == 7
    assert len(result.untested_classes) == 26
    assert result.num_samples == sum(s.part == "test" and s.labels in common for s in data.samples)
    assert run(["evaluate", str(tmp_path / "a"), "--data", str(original_job)]) == 0
    out, err = capsys.readouterr()
    assert "7 classes in the data, unknown to the model, not scored: K-000073" in out
    assert "26 classes known to the model, not in these photos: K-000000" in out
    assert "samples of 7 classes that the model doesn't know are not scored" in err


def test_predict_boxes(original_job, tmp_path, capsys):
    pl.train(original_job, out=tmp_path / "a", box_margin=0.25, **TINY)
    assert pl.load(tmp_path / "a").manifest.preprocess.box_margin == 0.25
    photos = original_job / "train_images"
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"train0.jpg": [[1, 1, 14, 20], [500, 1, 9, 9]], "train1.jpg": []}')
    command = ["predict", str(tmp_path / "a"), str(photos), "--boxes", str(boxes)]
    assert run([*command, "--out", str(tmp_path / "p"), "--top-k", "2"]) == 0
    found = json.loads((tmp_path / "p" / "predictions.json").read_text())
    assert len(found) == 21
    assert [(f["box"], "label" in f) for f in found if "box" in f] == [
        ([1, 1, 14, 20], True),
        ([500, 1, 9, 9], False),
    ]
    assert found[0]["info"]["dl_name"] == f"drug {found[0]['label']}"
    assert "lies outside the photo" in found[1]["error"]
    assert {f["error"] for f in found[2:]} == {"no box is given for this image"}
    boxes.write_text('{"other.jpg": [[1, 1, 14, 20]]}')
    capsys.readouterr()
    assert run([*command, "--out", str(tmp_path / "q")]) == 2
    assert "other images, such as other.jpg" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()


def test_large_boxes_are_excluded_and_nothing_is_moved(tmp_path):
    photos = {
        "1.jpg": [("a", (0, 0, 64, 48)), ("b", (4, 4, 10, 10))],
        "2.jpg": [("b", (50, 30, 30, 18)), ("a", (2, 2, 10, 43.5))],
    }
    root = layouts.aihub(tmp_path / "d", photos)
    before = sorted(path for path in root.rglob("*"))
    target = tmp_path / "out.csv"
    assert run(["check", str(root), "--exclude-to", str(target)]) == 0
    with target.open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["box"], row["reason"]) for row in rows] == [
        ("0,0,64,48", "its box covers 100 % of the photo's height"),
        ("2,2,10,43.5", "its box covers 91 % of the photo's height"),
    ]
    assert len(read_dataset(root, exclude=target)) == 2
    problems = {p.kind: p for p in check(read_dataset(root), max_box_height=0.95).problems}
    assert (problems["large_box"].count, problems["box_beyond_photo"].count) == (1, 1)
    assert before == sorted(path for path in root.rglob("*"))
    assert run(["check", str(root), "--max-box-height", "0"]) == 2
