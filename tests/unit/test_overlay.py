"""Overlays: labels that don't cover each other or leave the picture, on photos of any size."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image

from pocketlens.core.area import Area
from pocketlens.core.dataset import Box
from pocketlens.core.judged import Judged, judge, unsure_limit
from pocketlens.core.predictor import Prediction
from pocketlens.explain._plates import place
from pocketlens.explain.fonts import Fonts
from pocketlens.explain.lettering import COLOURS, percent, words
from pocketlens.explain.overlay import MAX_SIDE, MIN_SIDE, draw_overlay

CLASSES = ("cat", "dog", "=cmd()", "<b>")
FONTS = Fonts(lambda _: None)


def row(
    box: Box | None = None, label: str = "cat", share: float = 0.9, truth: str | None = None
) -> Judged:
    probs = np.full(4, (1 - share) / 3)
    probs[CLASSES.index(label)] = share
    found = Prediction(
        "a.jpg", CLASSES, label=label, confidence=share, probabilities_K=probs, box=box
    )
    return judge(found, "a.jpg", None if truth is None else (truth,), None, CLASSES)


def has(image: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(image) == colour).all(axis=2).any())


def test_states() -> None:
    assert row().state == "sure"
    assert row(truth="cat").state == "right"
    assert row(truth="dog").state == "wrong"
    assert row(share=0.4, truth="dog").state == "unsure"
    assert row(share=0.4, truth="dog").right is False
    assert row(truth="unknown class").state == "sure", "a class it can't name is no mistake"
    error = judge(Prediction("a", CLASSES, error="damaged"), "a", ("cat",), None, CLASSES)
    assert (error.state, error.right) == ("error", None)


def test_several_labels() -> None:
    def several(labels: tuple[str, ...], truth: tuple[str, ...], limit: float | None) -> Judged:
        probs = np.array([0.9, 0.55, 0.1, 0.1])
        found = Prediction("a", CLASSES, confidence=0.9, labels=labels, probabilities_K=probs)
        return judge(found, "a", truth, limit, CLASSES)

    both = ("cat", "dog")
    assert several(both, both, None).state == "right"
    assert several(both, ("dog", "cat", "unknown class"), None).state == "right"
    assert several(both, ("cat",), None).state == "wrong"
    assert several(both, both, 0.6).state == "unsure"
    assert several((), ("unknown class",), 0.6).state == "right"
    assert words(several(both, ("cat",), None)) == ("cat 90 %, dog 55 %", "true: cat")
    assert words(several((), ("cat",), None)) == ("no label (at most 90 %)", "true: cat")


def test_percent_never_reaches_a_limit_it_is_below() -> None:
    assert [percent(p) for p in (0.4999, 0.5, 0.999999, 1.0, 0.29)] == [
        "49 %", "50 %", "99 %", "100 %", "29 %",
    ]  # fmt: skip


@pytest.mark.parametrize("size", [(32, 32), (640, 480), (4000, 1000), (3, 900)])
def test_any_size_of_photo(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size, (255, 255, 255))
    drawn = draw_overlay(image, [row(truth="dog")], FONTS)
    photo = min(MAX_SIDE, max(MIN_SIDE, *size))
    assert drawn.width <= MAX_SIDE
    assert photo in (drawn.width, drawn.height) or drawn.height > photo
    assert has(drawn, COLOURS["wrong"])


def test_labels_beside_boxes() -> None:
    image = Image.new("RGB", (800, 600), (255, 255, 255))
    rows = [row(Box(50, 60, 120, 90), truth="cat"), row(Box(500, 300, 90, 90), truth="dog")]
    drawn = draw_overlay(image, rows, FONTS)
    assert drawn.size == (800, 600), "nothing need be told below the photo"
    assert has(drawn, COLOURS["right"])
    assert has(drawn, COLOURS["wrong"])
    assert (np.asarray(drawn)[65:145, 60:160] == 255).all(), "what is in the box stays visible"


def test_crowded_boxes_are_numbered_and_told_below() -> None:
    image = Image.new("RGB", (640, 480))
    rows = [row(Box(20 + 11 * i, 100, 40, 40)) for i in range(40)]
    drawn = draw_overlay(image, rows, FONTS)
    assert drawn.width == 640
    assert drawn.height > 480 + 200


@pytest.mark.parametrize(
    "box",
    [Box(-50, -50, 20, 20), Box(0, 0, 0, 5), Box(float("nan"), 0, 5, 5), Box(1e8, 0, 1e8, 9)],
)
def test_a_box_outside_is_told_below(box: Box) -> None:
    # FAULTS 13
    error = Judged(Prediction("a.jpg", CLASSES, box=box, error="lies outside"), "a.jpg")
    drawn = draw_overlay(Image.new("RGB", (640, 480)), [error, row(Box(9, 9, 99, 99))], FONTS)
    assert drawn.height > 480


def test_labels_never_overlap_nor_leave() -> None:
    rng = np.random.default_rng(0)
    placed: list[Area] = []
    for _ in range(60):
        x, y = rng.uniform(0, 900), rng.uniform(0, 700)
        box = Area(x, y, x + rng.uniform(10, 100), y + rng.uniform(10, 100))
        found = place((130, 24), box, placed, [box], (1000, 800))
        if found is not None:
            assert found.left >= 0
            assert found.top >= 0
            assert found.right <= 1000
            assert found.bottom <= 800
            placed.append(found)
    assert len(placed) > 30
    assert all(a.shared(b) == 0 for a, b in itertools.combinations(placed, 2))


def test_hostile_names_are_text() -> None:
    # FAULTS 12
    for label in CLASSES[2:]:
        assert words(row(label=label))[0].startswith(label)
        draw_overlay(Image.new("RGB", (64, 64)), [row(label=label)], FONTS)


def test_of_two_classes_the_likelier_can_be_unsure() -> None:
    assert [unsure_limit(number) for number in (2, 3, 17, 1000)] == [0.75, 0.67, 0.53, 0.5]
    two = np.array([0.53, 0.47], np.float32)
    found = Prediction("a.jpg", ("cat", "dog"), label="cat", confidence=0.53, probabilities_K=two)
    assert judge(found, "a.jpg", None, None, found.classes).state == "unsure"
    assert judge(found, "a.jpg", None, 0.5, found.classes).state == "sure"
