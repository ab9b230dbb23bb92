"""Counts, clusters, neighbours and choices on made-up features whose answers are known."""

from __future__ import annotations

from collections import Counter
from time import process_time

import numpy as np
import pytest

from pocketlens.core.dataset import Box, Sample
from pocketlens.core.predictor import Request
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import Input
from pocketlens.explain import clusters, counts, neighbours
from pocketlens.explain.choice import by_clusters, class_balanced, k_centre
from pocketlens.explain.features import features_of, look, mean_of
from pocketlens.explain.pictures import sheet, thumbnail


def blobs(sizes: list[int], spread: float = 0.05, seed: int = 0) -> tuple[np.ndarray, list[str]]:
    """Directions around the axes of a space, scaled to length 1, and the axis of each."""
    rng = np.random.default_rng(seed)
    labels = [f"c{i}" for i, n in enumerate(sizes) for _ in range(n)]
    features = np.concatenate([np.eye(16)[i] + rng.normal(0, spread, (n, 16))
                               for i, n in enumerate(sizes)])  # fmt: skip
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return features.astype(np.float32), labels


def own(num: int) -> list[str]:
    return [str(i) for i in range(num)]


def test_imbalance() -> None:
    assert counts.imbalance({"a": 30, "b": 10, "gone": 0}) == 3
    assert counts.imbalance({"a": 30, "gone": 0}) is None


def test_sizes_of_photos_and_boxes() -> None:
    found = counts.sizes([(100, 50), (100, 50), (300, 300)])
    assert found is not None
    assert found.width == {"min": 100, "median": 100, "max": 300}
    assert found.common[0] == {"width": 100, "height": 50, "count": 2}
    assert [(b.label, b.count) for b in found.sides] == [
        ("32 to 64 px", 2), ("64 to 128 px", 0), ("128 to 256 px", 0), ("256 to 512 px", 1)
    ]  # fmt: skip
    assert {b.label: b.count for b in found.shapes}["square"] == 1
    assert sum(b.count for b in found.shapes) == 3
    boxes = counts.sizes([(10, 10)], [(100, 100)])
    assert boxes is not None
    assert [(b.label, b.count) for b in boxes.shares] == [("1 to 5 %", 1)]
    assert counts.sizes([]) is None


def test_co_occurrence() -> None:
    samples = [
        Sample("1", ("a", "b")),
        Sample("2", ("b", "a")),
        Sample("3", ("a",)),
        Sample("4", ()),
    ]
    (pair,) = counts.co_occurrence(samples)
    assert (pair.a, pair.b, pair.count) == ("a", "b", 2)
    assert pair.share_a == pytest.approx(200 / 3)
    assert pair.share_b == 100
    assert [(b.label, b.count) for b in counts.labels_per_photo(samples)] == [
        ("0", 1), ("1", 1), ("2", 2)
    ]  # fmt: skip


def test_clusters_find_what_is_there() -> None:
    features, labels = blobs([40, 30, 20])
    directions, plane = clusters.reduce(features, 0)
    found = clusters.cluster(directions, labels, 0)
    assert found is not None
    summary, number = found
    assert summary.k == 3
    assert summary.adjusted_rand_index == 1
    assert summary.silhouette > 0.7
    assert summary.composition == ({"c0": 40}, {"c1": 30}, {"c2": 20})
    assert [labels[i] for i in summary.medoids] == ["c0", "c1", "c2"]
    assert np.bincount(number).tolist() == [40, 30, 20]
    assert plane.places_N2.shape == (90, 2)
    assert 0 < plane.explained[1] <= plane.explained[0] <= 100


def test_clusters_of_labels_that_say_nothing() -> None:
    features, labels = blobs([40, 40])
    shuffled = [str(v) for v in np.random.default_rng(1).permutation(labels)]
    found = clusters.cluster(clusters.reduce(features, 0)[0], shuffled, 0)
    assert found is not None
    assert abs(found[0].adjusted_rand_index or 0) < 0.1


@pytest.mark.parametrize("num", [1, 3, 5])
def test_too_few_or_equal_samples_make_no_clusters(num: int) -> None:
    features = np.ones((num, 4), np.float32) / 2
    directions, plane = clusters.reduce(features, 0)
    assert np.isfinite(plane.places_N2).all()
    assert clusters.cluster(directions, ["a"] * num, 0) is None


def test_neighbours_tell_classes_apart() -> None:
    features, labels = blobs([20, 20, 20])
    indices, distances = neighbours.nearest(features, own(60))
    assert all(i not in row for i, row in enumerate(indices))
    assert (np.diff(distances, axis=1) >= 0).all()
    found = neighbours.separability(labels, indices, np.ones(60, bool))
    assert found is not None
    assert (found.accuracy, found.balanced_accuracy, found.pairs) == (100, 100, ())
    assert found.chance == pytest.approx(100 / 3)
    assert found.accuracy_distinct is None
    assert "well" in found.verdict


def test_a_group_does_not_vouch_for_itself() -> None:
    # each group has its own look and one label: only its own members would name it
    rng = np.random.default_rng(0)
    looks = rng.normal(size=(12, 16))
    features = np.repeat(looks, 6, axis=0) + rng.normal(0, 0.01, (72, 16))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    groups = [str(i // 6) for i in range(72)]
    labels = [("a", "b")[i // 6 % 2] for i in range(72)]
    alone = np.ones(72, bool)
    fooled = neighbours.separability(labels, neighbours.nearest(features, own(72))[0], alone)
    honest = neighbours.separability(labels, neighbours.nearest(features, groups)[0], alone)
    assert fooled is not None
    assert honest is not None
    assert fooled.accuracy == 100
    assert honest.accuracy < 80


def test_all_samples_of_one_group() -> None:
    features, labels = blobs([5, 5])
    indices, distances = neighbours.nearest(features, ["same"] * 10)
    assert (indices == -1).all()
    assert neighbours.separability(labels, indices, np.ones(10, bool)) is None
    assert neighbours.suspects(labels, ["same"] * 10, features, indices, distances) == ()


def test_classes_that_are_alike_are_named() -> None:
    features, labels = blobs([30, 30, 30])
    mixed = ["c0" if label == "c1" and i % 2 else label for i, label in enumerate(labels)]
    found = neighbours.separability(mixed, neighbours.nearest(features, own(90))[0],
                                    np.ones(90, bool))  # fmt: skip
    assert found is not None
    assert (found.pairs[0].a, found.pairs[0].b) == ("c0", "c1")
    assert found.pairs[0].verdict in ("often mixed up", "hardly told apart")
    assert found.by_class["c2"].recall == 100


def test_wrong_labels_are_found_the_clearest_first() -> None:
    features, labels = blobs([20, 20, 20])
    wrong = {3: "c1", 47: "c0"}
    given = [wrong.get(i, label) for i, label in enumerate(labels)]
    units = own(60)
    found = neighbours.suspects(given, units, features, *neighbours.nearest(features, units))
    assert {s.sample: (s.label, s.suggested) for s in found} == {3: ("c1", "c0"), 47: ("c0", "c2")}
    assert all(s.share == 100 and s.margin > 0.5 for s in found)
    assert [s.margin for s in found] == sorted((s.margin for s in found), reverse=True)


def test_a_class_of_two_is_rare_not_wrong() -> None:
    features, labels = blobs([20, 20, 2])
    units = own(42)
    found = neighbours.suspects(labels, units, features, *neighbours.nearest(features, units))
    assert found == ()


@pytest.mark.parametrize("choose", [by_clusters, k_centre])
def test_choices_cover_what_is_rare(choose) -> None:  # type: ignore[no-untyped-def]
    features, labels = blobs([180, 10, 10])
    chosen = choose(features, 12, 0)
    assert len(set(chosen)) == 12
    assert chosen == choose(features, 12, 0)
    assert {labels[i] for i in chosen} == {"c0", "c1", "c2"}
    rare = sum(labels[i] != "c0" for i in chosen)
    random = [class_balanced([()] * 200, 12, seed) for seed in range(20)]
    assert rare > np.mean([sum(labels[i] != "c0" for i in some) for some in random])


def test_several_labels_are_all_balanced() -> None:
    rng = np.random.default_rng(0)
    shares = {"person": 0.9, "dog": 0.3, "cat": 0.05, "toaster": 0.01}
    labels = [tuple(n for n, share in shares.items() if rng.random() < share) for _ in range(2000)]
    chosen = class_balanced(labels, 60, 0)
    assert len(set(chosen)) == 60
    assert chosen == class_balanced(labels, 60, 0) != class_balanced(labels, 60, 1)
    counts = Counter(name for i in chosen for name in labels[i] or ("",))
    assert min(counts[name] for name in ("cat", "dog", "toaster", "")) >= 12
    # `person` is on nearly all photos and needs none of its own.
    first = class_balanced([names[:1] for names in labels], 60, 0)
    assert counts["toaster"] > sum("toaster" in labels[i] for i in first)
    assert sorted(class_balanced(labels, 5000, 0)) == list(range(2000))


def test_choosing_from_many_takes_no_time() -> None:
    rng = np.random.default_rng(0)
    names = np.array([f"class {i}" for i in range(80)])
    labels = [tuple(names[rng.integers(0, 80, n)]) for n in rng.integers(0, 5, 100_000)]
    start = process_time()
    assert len(class_balanced(labels, 50_000, 0)) == 50_000
    assert process_time() - start < 5  # it took 0.3


def test_k_centre_is_near_every_sample() -> None:
    features, _ = blobs([50, 50, 50], spread=0.02)
    chosen = k_centre(features, 3, seed=4)
    far = 1 - (features @ features[chosen].T).max(axis=1)
    assert far.max() < 0.1


@pytest.mark.parametrize("choose", [by_clusters, k_centre])
def test_choices_of_few(choose) -> None:  # type: ignore[no-untyped-def]
    features, _ = blobs([3])
    assert sorted(choose(features, 10, 0)) == [0, 1, 2]


def test_features_leave_out_what_cannot_be_read(photos, tmp_path) -> None:  # type: ignore[no-untyped-def]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no photo")
    files = [*sorted(map(str, photos.rglob("*.jpg")))[:20], str(bad)]
    requests = [Request(f) for f in files]
    samples = [Sample(f, ("a",)) for f in files]
    mean, seen = mean_of(samples, {"a": 21}, 4)
    features, kept = features_of(
        requests, Preprocess(32, 32), Input(), lambda x: x.mean(axis=(2, 3)) + 9, seen=seen
    )
    assert kept == list(range(20))
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-5)
    assert mean.counts == {"": 20, "a": 20}
    again, seen = mean_of(samples, {"a": 21}, 4)
    look(requests, seen)
    assert again.image("").tobytes() == mean.image("").tobytes()


def test_thumbnails(photos) -> None:  # type: ignore[no-untyped-def]
    file = str(next(photos.rglob("*.jpg")))
    image = thumbnail(Request(file), 24)
    assert image is not None
    assert max(image.size) == 24
    assert thumbnail(Request(file, Box(0, 0, 10, 5)), 24).size == (10, 5)  # type: ignore[union-attr]
    assert thumbnail(Request("missing.jpg"), 24) is None
    assert sheet([image] * 5, 24, 4).size == (4 * 28 + 4, 2 * 28 + 4)
    assert sheet([], 24, 4).size == (32, 32)
