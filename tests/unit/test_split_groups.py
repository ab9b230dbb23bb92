"""Whole groups in one part, or every group in every part."""

import pytest

import pocketlens as pl
from pocketlens.core.dataset import Sample
from pocketlens.core.split import Split, make_split
from pocketlens.workflows.check import check
from pocketlens.workflows.data import read_dataset
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
