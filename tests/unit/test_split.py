import random
from collections import Counter

import pytest

from pocketlens.core.dataset import Sample
from pocketlens.core.errors import DataError
from pocketlens.core.split import Split, halves, make_split


def made(counts, **fields):
    samples = [
        Sample(f"{label}/{i}.jpg", (label,), **fields)
        for label, count in counts.items()
        for i in range(count)
    ]
    return samples, [f"{sample.path}#" for sample in samples]


def counted(split, samples, identities):
    part_of = split.part_of()
    return Counter(
        (part_of.get(key), label)
        for sample, key in zip(samples, identities, strict=True)
        for label in sample.labels
    )


def test_stratified_70_15_15():
    samples, keys = made({"a": 1000, "b": 200, "c": 40})
    counts = counted(make_split(samples, keys), samples, keys)
    for label, total in (("a", 1000), ("b", 200), ("c", 40)):
        for part, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
            assert abs(counts[part, label] - share * total) <= 1


@pytest.mark.parametrize(
    ("count", "parts"),
    [
        (1, {"train"}),
        (2, {"train", "test"}),
        (3, {"train", "val", "test"}),
        (5, {"train", "val", "test"}),
    ],
)
def test_small_classes_reach_every_part_they_can(count, parts):
    samples, keys = made({"big": 100, "small": count})
    counts = counted(make_split(samples, keys), samples, keys)
    assert {part for part, label in counts if label == "small"} == parts


def test_order_does_not_matter_but_seed_does():
    samples, keys = made({"a": 60, "b": 30})
    pairs = list(zip(samples, keys, strict=True))
    random.Random(0).shuffle(pairs)
    shuffled, shuffled_keys = map(list, zip(*pairs, strict=True))
    assert make_split(samples, keys) == make_split(shuffled, shuffled_keys)
    assert make_split(samples, keys, seed=1).test != make_split(samples, keys, seed=2).test


def test_order_does_not_matter_for_several_labels_and_groups():
    rng = random.Random(0)
    samples = [
        Sample(str(i), tuple(rng.sample("abcdef", rng.randrange(4))), group=str(rng.randrange(40)))
        for i in range(300)
    ]
    keys = [f"k{i}" for i in range(300)]
    pairs = list(zip(samples, keys, strict=True))
    rng.shuffle(pairs)
    assert make_split(samples, keys) == make_split(*map(list, zip(*pairs, strict=True)))


def test_groups_are_never_divided_and_classes_still_balanced():
    rng = random.Random(1)
    samples = [
        Sample(f"{i}", (rng.choice("ab"),), group=f"g{rng.randrange(200)}") for i in range(1000)
    ]
    keys = [f"k{i}" for i in range(1000)]
    split = make_split(samples, keys)
    part_of = split.part_of()
    parts = {}
    for sample, key in zip(samples, keys, strict=True):
        assert parts.setdefault(sample.group, part_of[key]) == part_of[key]
    assert 0.67 < len(split.train) / 1000 < 0.73


def test_same_photo_stays_in_one_part_also_through_groups():
    samples, keys = made({"a": 50, "b": 50})
    keys = [f"photo{i % 25}@{i}" for i in range(100)]  # four boxes of each photo
    samples[0] = Sample("x", ("a",), group="g")
    samples[99] = Sample("y", ("b",), group="g")  # joins photo 0 and photo 24
    part_of = make_split(samples, keys).part_of()
    parts = {}
    for key in keys:
        assert parts.setdefault(key.split("@")[0], part_of[key]) == part_of[key]
    assert parts["photo0"] == parts["photo24"]


def test_the_same_file_under_two_labels_is_in_one_part():  # Data sets, 11
    samples, keys = made({"a": 20, "b": 20})
    keys[0] = keys[20]
    split = make_split(samples, keys)
    assert len(split.train) + len(split.val) + len(split.test) == 39


def test_train_and_test_given_carves_validation_from_train():
    train, train_keys = made({"a": 100, "b": 50}, part="train")
    test, _ = made({"a": 20, "b": 10}, part="test")
    test_keys = [f"test-{sample.path}" for sample in test]
    split = make_split(train + test, train_keys + test_keys)
    assert set(split.test) == set(test_keys)
    assert abs(len(split.val) - 150 * 0.15 / 0.85) <= 1
    assert set(split.val) | set(split.train) == set(train_keys)
    assert split.seed is None


def test_train_and_val_given_makes_val_the_test():
    train, train_keys = made({"a": 100}, part="train")
    val, _ = made({"a": 20}, part="val")
    val_keys = [f"val-{i}" for i in range(20)]
    split = make_split(train + val, train_keys + val_keys)
    assert set(split.test) == set(val_keys)
    assert split.val


def test_all_three_given_are_used_as_they_are():
    samples = [Sample(str(i), ("a",), part=p) for i, p in enumerate(("train", "val", "test") * 5)]
    split = make_split(samples, [str(i) for i in range(15)])
    assert set(split.val) == {str(i) for i in range(1, 15, 3)}
    assert split.notes == ()


@pytest.mark.parametrize(
    ("parts", "kept"), [("train test", "test"), ("val test", "test"), ("train val", "val")]
)
def test_leaks_of_given_parts_stay_in_the_later_one(parts, kept):  # Data sets, 11
    samples = [Sample(str(i), ("a",), part=p) for i, p in enumerate(("train", "val", "test") * 5)]
    keys = [str(i) for i in range(15)]
    for part in parts.split():
        samples.append(Sample(f"leak-{part}", ("a",), part=part))
        keys.append("leak")
    split = make_split(samples, keys)
    assert [part for part in ("train", "val", "test") if "leak" in getattr(split, part)] == [kept]
    first = parts.split()[0]
    assert split.notes == (
        f"1 samples whose photo is also in a later part are not used: leak-{first}",
    )


def test_one_photo_under_two_labels_is_named():  # Data sets, 11
    samples = [Sample(f"{i}.jpg", ("ab"[i % 2],)) for i in range(20)]
    keys = [str(i // 2) if i < 10 else str(i) for i in range(20)]
    [note] = make_split(samples, keys).notes
    assert note.startswith("5 photos (or boxes) are there under different labels")
    assert note.endswith("0.jpg (a) = 1.jpg (b); 2.jpg (a) = 3.jpg (b); 4.jpg (a) = 5.jpg (b); …")


def test_given_parts_that_divide_a_group_are_said():
    samples = [
        Sample(str(i), ("a",), group="g", part=p) for i, p in enumerate(("train", "val", "test"))
    ]
    assert "divide 1 groups" in make_split(samples, ["0", "1", "2"]).notes[0]


def test_keep_never_moves_an_old_sample():
    samples, keys = made({"a": 100, "b": 20})
    old = make_split(samples, keys)
    more, more_keys = made({"a": 300, "b": 90, "new": 30})
    new = make_split(more, more_keys, keep=old, seed=7)
    for part in ("train", "val", "test"):
        assert set(getattr(old, part)) <= set(getattr(new, part))
    counts = counted(new, more, more_keys)
    assert abs(counts["test", "a"] - 45) <= 1  # the new ones fill up to the shares


def test_what_tested_once_tests_again_though_data_between_lacked_it():
    """Bundle after bundle: the second was trained on other photos, the third has all."""
    samples, keys = made({"a": 60, "b": 60})
    others, other_keys = made({"c": 60, "d": 60})
    first = make_split(samples, keys)
    second = make_split(others, other_keys, keep=first)
    assert not set(second.test) & set(keys)
    second = Split.from_dict(second.to_dict())
    third = make_split([*samples, *others], [*keys, *other_keys], keep=second, seed=7)
    assert set(first.test) | set(second.test) <= set(third.test)
    assert not third.tested_before
    assert set(make_split(others, other_keys, keep=second).tested_before) == set(first.test)


def test_keep_knows_a_photo_by_another_box():
    """A corrected box, or the whole photo in place of it, is still the photo that tested."""
    samples, keys = made({"a": 60, "b": 60})
    old = make_split(samples, [f"{key}@1,2,3,4" for key in keys])
    new = make_split(samples, [f"{key}@1,2,3,5" for key in keys], keep=old, seed=7)
    for part in ("train", "val", "test"):
        was, now = ({k.partition("@")[0] for k in getattr(s, part)} for s in (old, new))
        assert was == now


def test_keep_with_given_parts_and_groups():
    def data(num):
        train = [Sample(f"t{i}", ("a",), group=f"g{i % 20}", part="train") for i in range(num)]
        return [*train, Sample("x", ("a",), part="test")], [*(f"t{i}" for i in range(num)), "x"]

    old = make_split(*data(40))
    samples, keys = data(80)
    new = make_split(samples, keys, keep=old)
    assert set(old.val) <= set(new.val)
    part_of = new.part_of()
    parts = {}
    for sample, key in zip(samples, keys, strict=True):
        assert parts.setdefault(sample.group, part_of[key]) == part_of[key]


def test_what_a_calibration_saw_is_never_scored():
    samples, keys = made({"a": 100})
    split = make_split(samples, keys, keep=Split(calibration=tuple(keys[:60])))
    assert set(keys[:60]) <= set(split.train)
    assert split.test


def test_photos_without_labels_are_spread():
    samples = [Sample(str(i), ("a",) if i < 50 else ()) for i in range(100)]
    split = make_split(samples, [str(i) for i in range(100)])
    assert 6 <= sum(int(key) >= 50 for key in split.test) <= 9


@pytest.mark.parametrize("count", [1])  # Data sets, 10
def test_too_few(count):
    with pytest.raises(DataError, match="test part would be empty"):
        make_split(*made({"a": count}))
    with pytest.raises(DataError, match="train part would be empty"):
        make_split(*made({"a": 3}, part="test"))


def test_round_trip():
    split = make_split(*made({"a": 20}), seed=3)
    assert Split.from_dict(split.to_dict()) == split


def test_halves_are_alike_and_keep_groups_whole() -> None:
    samples = [
        Sample(path=f"{i}.jpg", labels=("a" if i % 4 else "b",), group=f"g{i // 2}")
        for i in range(80)
    ]
    identities = [f"{i:064x}" for i in range(80)]
    first, second = halves(samples, identities)
    assert sorted([*first, *second]) == list(range(80))
    assert not {samples[i].group for i in first} & {samples[i].group for i in second}
    for part in (first, second):
        assert 38 <= len(part) <= 42
        assert 9 <= sum(samples[i].labels == ("b",) for i in part) <= 11
    assert halves(samples, identities) == (first, second)
    assert halves(samples, identities, seed=1) != (first, second)
