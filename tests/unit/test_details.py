"""Classes and photos behind the rows of multi-label models."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score

from pocketlens.core.dataset import Sample, make_dataset
from pocketlens.core.examples import Examples, make_examples
from pocketlens.core.scored import from_logits, sigmoid, softmax
from pocketlens.measures.score import Outcome
from pocketlens.workflows import _details as details

CLASSES = ("cat", "dog", "eel")
THRESHOLDS = np.array([0.5, 0.3, 0.5])


@pytest.fixture
def examples(tmp_path: Path) -> Examples:
    labels = [("dog", "cat"), ("cat",), (), ("dog",)]
    samples = []
    for i, names in enumerate(labels):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{i}.png")
        samples.append(Sample(f"{i}.png", names))
    data = make_dataset(tmp_path, "csv", samples, task="multi_label", classes=CLASSES)
    return make_examples(data, [str(i) for i in range(4)], CLASSES)


def outcome(examples: Examples, logits: list[list[float]]) -> Outcome:
    scored = from_logits("multi_label", np.array(logits, np.float32), examples.truth, THRESHOLDS)
    return Outcome(examples, scored, {})


BEFORE = [[2, 1, -9], [1, -2, -3], [-1, -1, -1], [-1, 3, -2]]
AFTER = [[2, -1, -5], [1, -2, -3], [0.5, -0.5, -1], [-1, 2, -2]]


def test_flips_name_the_label_that_changed(examples: Examples) -> None:
    flips = details.flips(outcome(examples, BEFORE), {"int8": outcome(examples, AFTER)})
    by_name = {flip.filename: flip for flip in flips}
    # The largest move of a label that was given or taken away comes first; eel's is larger.
    assert [flip.filename for flip in flips] == ["0.png", "2.png"]
    first, second = by_name["0.png"], by_name["2.png"]
    # In the order of the classes, as the answers are, so that they can be compared.
    assert (first.truth, first.before, first.after) == ("cat | dog", "cat | dog", "cat")
    assert first.changed == "dog"
    assert first.confidence_before == pytest.approx(100 * sigmoid(np.array(1.0)))
    assert first.confidence_after == pytest.approx(100 * sigmoid(np.array(-1.0)))
    assert (second.truth, second.before, second.after) == ("none", "none", "cat | dog")
    assert second.changed == "cat"


def test_a_label_that_only_its_threshold_changed(examples: Examples) -> None:
    one = outcome(examples, BEFORE)
    scored = replace(one.scored, thresholds_K=np.array([0.5, 0.3, 0.1]))
    flips = details.flips(one, {"int8": replace(one, scored=scored)})
    assert {flip.changed for flip in flips} == {"eel"}


def test_damage_is_the_metrics_own(examples: Examples) -> None:
    before, after = outcome(examples, BEFORE), outcome(examples, AFTER)
    found = details.damage("map", before, {"int8": after})
    assert [item.label for item in found] == ["cat", "dog"], "no test photo shows an eel"
    for k, item in enumerate(found):
        expected = [
            100 * average_precision_score(examples.truth[:, k], o.scored.logits_NK[:, k])
            for o in (before, after)
        ]
        assert [item.score_float, item.score] == pytest.approx(expected)
        assert (item.metric, item.num_samples) == ("average_precision", 2)
    assert {d.metric for d in details.damage("macro_f1", before, {"int8": after})} == {"f1"}


def test_notes_name_classes_without_a_photo(examples: Examples) -> None:
    (note,) = details.notes(outcome(examples, BEFORE), outcome(examples, BEFORE), [])
    assert "2 of 3 classes: no test photo has eel" in note
    assert details.counts(outcome(examples, BEFORE), None) == {
        "num_test": 4,
        "num_val": 0,
        "num_classes_scored": 2,
    }


def test_of_one_label_the_surest_contradiction_comes_first(examples: Examples) -> None:
    one = replace(examples, truth=np.zeros(4, np.int64))
    # 0 turns from sure to sure, 1 from sure to unsure, 2 keeps its answer, 3 was never sure.
    before = [[4, 0, 0], [4, 0, 0], [9, 0, 0], [0.3, 0, 0]]
    after = [[0, 4, 0], [0, 0.5, 0], [2, 0, 0], [0, 0, 0.4]]
    outcomes = [
        Outcome(one, from_logits("single_label", np.array(logits, np.float32), one.truth), {})
        for logits in (before, after)
    ]
    flips = details.flips(outcomes[0], {"int8": outcomes[1]})
    assert [flip.filename for flip in flips] == ["0.png", "1.png", "3.png"]
    assert [(flip.before, flip.after, flip.changed) for flip in flips] == [
        ("cat", "dog", ""),
        ("cat", "dog", ""),
        ("cat", "eel", ""),
    ]
    last = flips[-1]
    assert last.confidence_before == pytest.approx(100 * softmax(np.array(before[3]))[0])
    assert last.confidence_after == pytest.approx(100 * softmax(np.array(after[3]))[2])
