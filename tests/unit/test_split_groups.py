"""Whole groups in one part, or every group in every part."""

import csv
from collections import defaultdict

import pytest

import pocketlens as pl
from pocketlens.core.dataset import Sample
from pocketlens.core.split import Split, make_split
from pocketlens.workflows.check import check
from pocketlens.workflows.data import identities, read_dataset
from support import layouts

SAMPLES = [
    Sample(f"{fabric}{label}{i}", (label,), group=fabric)
    for fabric in "ABCDEFG"
    for label in ("torn", "good")
    for i in range(10)
]
KEYS = [sample.path for sample in SAMPLES]


def fabrics(split):
    return {part: {key[0] for key in getattr(split, part)} for part in ("train", "val", "test")}


def test_across_is_the_default():
    split = make_split(SAMPLES, KEYS)
    assert split == make_split(SAMPLES, KEYS, groups="across")
    found = fabrics(split)
    assert not found["train"] & found["test"]
    assert not found["val"] & found["test"]
    assert "groups" not in split.to_dict()  # bundles of old stay as they are


def test_inside_puts_every_group_and_class_into_every_part():
    split = make_split(SAMPLES, KEYS, groups="inside")
    assert all(len(found) == 7 for found in fabrics(split).values())
    assert [len(getattr(split, part)) for part in ("train", "val", "test")] == [98, 21, 21]
    torn = sum("torn" in key for key in split.test)
    assert 9 <= torn <= 12
    for fabric in "ABCDEFG":
        assert sum(key[0] == fabric for key in split.test) == 3
    assert split == make_split(SAMPLES[::-1], KEYS[::-1], groups="inside")


def test_copies_and_crops_of_one_photo_stay_together():
    samples = [Sample(f"{i}.jpg", ("a",), group=str(i % 3)) for i in range(60)]
    keys = [f"photo{i // 4}@{i},0,1,1" for i in range(60)]
    part_of = make_split(samples, keys, groups="inside").part_of()
    for i in range(0, 60, 4):
        assert len({part_of[key] for key in keys[i : i + 4]}) == 1


def test_remembered_and_kept():
    split = make_split(SAMPLES, KEYS, groups="inside")
    again = Split.from_dict(split.to_dict())
    assert again.groups == "inside"
    assert Split.from_dict({}).groups == "across"
    more = [*SAMPLES, *(Sample(f"Hgood{i}", ("good",), group="H") for i in range(10))]
    keys = [sample.path for sample in more]
    grown = make_split(more, keys, keep=again)
    assert grown.groups == "inside"
    assert set(split.test) <= set(grown.test)
    assert all("H" in found for found in fabrics(grown).values())
    assert make_split(more, keys, keep=again, groups="across").groups == "across"


@pytest.fixture
def fabric_photos(tmp_path):
    for number, sample in enumerate(SAMPLES):
        path = tmp_path / sample.group / sample.labels[0] / f"{number}.jpg"
        layouts.photo(path, number, (32, 32))
    return tmp_path


def test_every_verb_that_splits_honours_it(fabric_photos, tmp_path_factory):
    data = read_dataset(fabric_photos, split_groups="inside")
    assert check(data).splits == {"train": 98, "val": 21, "test": 21}
    out = tmp_path_factory.mktemp("out") / "a"
    bundle = pl.train(data, out=out, model="test_byobnet", weights="none", epochs=1, image_size=32)
    assert bundle.split.groups == "inside"
    assert len(bundle.split.test) == 21
    assert (
        pl.train(
            fabric_photos,
            out=out.with_name("b"),
            keep_split=bundle,
            model="test_byobnet",
            weights="none",
            epochs=1,
            image_size=32,
        ).split
        == bundle.split
    )


def test_parts_that_divide_groups_are_no_news_when_asked_for(fabric_photos):
    samples = [
        Sample(s.path, s.labels, group=s.group, part="test" if i % 4 == 0 else "train")
        for i, s in enumerate(SAMPLES)
    ]
    assert "divide" in " ".join(make_split(samples, KEYS).notes)
    assert "divide" not in " ".join(make_split(samples, KEYS, groups="inside").notes)


def parts_of(data, key):
    """Which parts the samples of one group (or photo) are in, after a split with several seeds."""
    hashed = identities(data)
    for seed in range(3):
        part_of = make_split(
            data.samples, hashed.identities, seed=seed, groups=data.split_groups
        ).part_of()
        assert set(part_of.values()) == {"train", "val", "test"}
        found = defaultdict(set)
        for sample, identity in zip(hashed.dataset.samples, hashed.identities, strict=True):
            found[key(sample)].add(part_of[identity])
        yield found


def test_a_fabric_is_in_one_part(fabric_photos):
    for found in parts_of(read_dataset(fabric_photos), lambda sample: sample.group):
        assert found.keys() == set("ABCDEFG")
        assert {len(parts) for parts in found.values()} == {1}


@pytest.mark.parametrize("name", sorted(layouts.MAKERS))
def test_all_crops_of_a_photo_are_in_one_part(name, tmp_path, monkeypatch):
    monkeypatch.setenv("POCKETLENS_CACHE", str(tmp_path / "cache"))
    boxes = {
        f"{i:02d}.jpg": [(("cat", "dog")[k % 2], (4 * k, 4, 20, 20)) for k in range(1 + i % 4)]
        for i in range(40)
    }
    more = {"names": ("cat", "dog")} if name in ("coco", "yolo") else {}
    layouts.MAKERS[name](tmp_path / "d", boxes, **more)
    if name == "yolo":  # no part is given, so that all are divided
        (tmp_path / "d" / "data.yaml").write_text("names: [cat, dog]")
        for kind in ("images", "labels"):
            (tmp_path / "d" / kind / "train").rename(tmp_path / "d" / kind / "all")
    data = read_dataset(tmp_path / "d", labels=None if name == "aihub" else "boxes")
    assert len(data) == 100
    for found in parts_of(data, lambda sample: sample.path):
        assert len(found) == 40
        assert {len(parts) for parts in found.values()} == {1}


@pytest.fixture
def patients(tmp_path):
    """30 patients with 1 to 6 photos; the first photos of patients 0 and 1 are the same bytes."""
    rows, number = [], 0
    for patient in range(30):
        for k in range(1 + patient % 6):
            name = f"{number}.jpg"
            layouts.photo(tmp_path / name, 0 if k == 0 and patient < 2 else 100 + number)
            rows.append((name, ("melanoma", "other")[number % 3 > 0], f"P{patient}"))
            number += 1
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "label", "patient_id"), *rows])
    return tmp_path


def test_a_patient_is_in_one_part(patients):
    data = read_dataset(patients)
    for found in parts_of(data, lambda sample: sample.group):
        assert len(found) == 30
        assert {len(parts) for parts in found.values()} == {1}
        assert found["P0"] == found["P1"], "they share a photo"
    assert "group_leak" not in {problem.kind for problem in check(data).problems}


def test_patients_that_the_table_divides_are_said(patients):
    text = (patients / "labels.csv").read_text().splitlines()
    lines = [f"{line},{('train', 'train', 'test')[i % 3]}" for i, line in enumerate(text[1:])]
    (patients / "labels.csv").write_text("\n".join([f"{text[0]},split", *lines]))
    found = {problem.kind: problem for problem in check(read_dataset(patients)).problems}
    assert found["group_leak"].count > 10


def test_patients_may_be_divided_where_that_is_asked_for(patients):
    data = read_dataset(patients, split_groups="inside")
    found = next(parts_of(data, lambda sample: sample.group))
    assert any(len(parts) > 1 for parts in found.values())
