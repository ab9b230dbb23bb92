"""Labels matched with a network's classes."""

from pathlib import Path

from pocketlens.core.dataset import Sample, make_dataset
from pocketlens.core.examples import make_examples


def test_photos_whose_labels_are_all_unknown_show_none_of_the_classes():  # Data sets 15
    labels = [("cat",), ("cat", "new"), ("new",), ("new", "odd"), ()]
    samples = [Sample(f"{i}.jpg", names) for i, names in enumerate(labels)]
    data = make_dataset(Path("x"), "test", samples, task="multi_label")
    found = make_examples(data, [s.path for s in samples], ("cat", "dog"))
    assert found.truth.tolist() == [[1, 0], [1, 0], [0, 0], [0, 0], [0, 0]]
    assert found.unknown_classes == ("new", "odd")
    assert (found.num_dropped, found.num_only_unknown) == (0, 2)
    assert found.take([0]).num_only_unknown == 2  # of the data, as the classes are
