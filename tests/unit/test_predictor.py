"""The predictor with a fake network: order, errors as rows, boxes, batches, flat memory."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pocketlens.core.bundle import Lineage, Manifest
from pocketlens.core.dataset import Box
from pocketlens.core.errors import ImageError, UserError
from pocketlens.core.predictor import Predictor, Request, available_cores, read_bytes
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import FakeSession
from pocketlens.workflows._predict_files import to_dict

#: The input is the pixels divided by 255, so that a fake network can read colours from it.
PLAIN = Preprocess(8, 8, "stretch", mean=(0, 0, 0), std=(1, 1, 1))
RED, GREEN, BLUE = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def manifest(**change: Any) -> Manifest:
    values: dict[str, Any] = {
        "task": "single_label",
        "classes": ("red", "green", "blue"),
        "preprocess": PLAIN,
        "runtime": "fake",
        "precision": "float32",
        "model": {},
        "lineage": Lineage(),
        "class_info": {"red": {"wavelength": 700}},
    }
    return Manifest(**values | change)


def mean_colour(input_NCHW: np.ndarray) -> np.ndarray:
    """The strongest colour of a photo, as logits."""
    return 8 * input_NCHW.mean(axis=(2, 3))


def photo(colour: tuple[int, int, int], width: int = 12, height: int = 10) -> np.ndarray:
    return np.full((height, width, 3), colour, dtype=np.uint8)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession(mean_colour)


@pytest.fixture
def predictor(session: FakeSession) -> Iterator[Predictor]:
    with Predictor(manifest(), session, batch_size=4) as opened:
        yield opened


def test_paths_bytes_and_arrays(
    predictor: Predictor, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    data = encode(photo(RED))
    (tmp_path / "r.png").write_bytes(data)
    sources = [str(tmp_path / "r.png"), tmp_path / "r.png", data, photo(RED)]
    found = predictor.predict(sources)
    assert [p.label for p in found] == ["red"] * 4
    assert [p.filename for p in found] == [str(tmp_path / "r.png")] * 2 + ["", ""]
    assert len({p.confidence for p in found}) == 1
    for source in sources:
        (one,) = predictor.predict(source)
        assert one.label == "red"
    assert predictor.predict([]) == []
    assert [p.label for p in predictor.predict(iter([data, photo(BLUE)]))] == ["red", "blue"]


def test_what_a_prediction_tells(predictor: Predictor) -> None:
    (found,) = predictor.predict([photo((200, 100, 0))])
    assert found.index == 0
    assert found.info == {"wavelength": 700}
    assert found.labels == ()
    assert found.error is None
    assert [name for name, _ in found.top()] == ["red", "green", "blue"]
    assert found.top(1) == [("red", found.confidence)]
    assert sum(share for _, share in found.top()) == pytest.approx(1)


def test_order_and_batches(predictor: Predictor, session: FakeSession) -> None:
    colours = [RED, GREEN, BLUE, BLUE, GREEN] * 9
    found = predictor.predict([photo(c) for c in colours])
    names = {RED: "red", GREEN: "green", BLUE: "blue"}
    assert [p.label for p in found] == [names[c] for c in colours]
    assert session.shapes == [(4, 3, 8, 8)] * 11 + [(1, 3, 8, 8)]


def test_bad_images_are_rows(
    predictor: Predictor, session: FakeSession, tmp_path: Path, encode: Callable[..., bytes]
) -> None:
    whole = encode(photo(RED), "JPEG")
    (tmp_path / "folder.jpg").mkdir()
    bad: list[Any] = [
        b"", b"no image", whole[: len(whole) // 2], tmp_path / "missing.jpg",
        tmp_path / "folder.jpg", "nul\0.jpg", np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 3), np.float32), np.zeros((0, 4, 3), np.uint8),
    ]  # fmt: skip
    found = predictor.predict([x for b in bad for x in (photo(GREEN), b)])
    assert [p.label for p in found[::2]] == ["green"] * len(bad)
    for row in found[1::2]:
        assert row.error
        assert "\n" not in row.error
        assert row.label is row.confidence is row.probabilities_K is row.index is None
        assert row.top() == []
    assert found[1].error == "the file is empty"
    assert found[7].filename == str(tmp_path / "missing.jpg")
    # A batch without one good image asks the network nothing.
    session.shapes.clear()
    assert all(p.error for p in predictor.predict([b""] * 8))
    assert session.shapes == []


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_nan_is_reported_and_never_ranked(bad: float) -> None:
    def answer(input_NCHW: np.ndarray) -> np.ndarray:
        logits = mean_colour(input_NCHW)
        logits[input_NCHW.mean(axis=(1, 2, 3)) == 0, 1] = bad
        return logits

    predictor = Predictor(manifest(), FakeSession(answer))
    found = predictor.predict([photo(RED), photo((0, 0, 0)), photo(BLUE)])
    assert [p.label for p in found] == ["red", None, "blue"]
    assert found[1].error == "the network answered with NaN or infinity"


def test_boxes(predictor: Predictor, encode: Callable[..., bytes]) -> None:
    halves = photo(RED, width=20)
    halves[:, 10:] = BLUE
    boxes = [None, (0, 0, 10, 10), Box(10, 0, 10, 10), (0, 0, 0, 5), (50, 50, 5, 5)]
    for source in (halves, encode(halves)):
        found = predictor.predict([source] * 5, boxes)
        assert [p.label for p in found[1:]] == ["red", "blue", None, None]
        assert found[1].box == Box(0, 0, 10, 10)
        assert "no area" in (found[3].error or "")
        assert "outside" in (found[4].error or "")
    with pytest.raises(UserError, match="as many boxes"):
        predictor.predict([halves], boxes)


def test_multi_label() -> None:
    opened = Predictor(
        manifest(task="multi_label", thresholds={"red": 0.9, "green": 0.2}),
        FakeSession(lambda x: mean_colour(x) - 4),
    )
    found = opened.predict([photo((200, 110, 255)), photo((0, 0, 0)), photo((255, 0, 128))])
    # Logits 2.3, -0.5 and 4: red needs 0.9 and has 0.91, blue has the usual 0.5.
    assert found[0].labels == ("blue", "red", "green")
    assert found[0].label is None
    assert found[0].index is None
    assert found[1].labels == ()
    assert found[1].confidence == pytest.approx(1 / (1 + np.exp(4)))
    assert found[2].labels == ("red", "blue")
    assert found[0].info == {"red": {"wavelength": 700}}
    assert found[1].info == {}
    assert to_dict(found[2])["info"] == {"red": {"wavelength": 700}}
    assert "info" not in to_dict(found[1])


def test_a_network_for_other_classes(session: FakeSession) -> None:
    opened = Predictor(manifest(classes=("a", "b")), session)
    with pytest.raises(UserError, match="class names don't belong to this network"):
        opened.predict([photo(RED)])


def test_closed(session: FakeSession) -> None:
    with Predictor(manifest(), session) as opened:
        pass
    with pytest.raises(UserError, match="closed"):
        opened.predict([photo(RED)])


def test_pixel_limit(predictor: Predictor, encode: Callable[..., bytes]) -> None:
    data = encode(photo(RED))
    limit = [p.error for p in predictor.stream([Request(data)], max_pixels=119)]
    assert "limit" in (limit[0] or "")


def test_memory_is_flat(predictor: Predictor, encode: Callable[..., bytes]) -> None:
    data = encode(photo(RED, 100, 100))

    def peak(count: int) -> int:
        tracemalloc.start()
        number = sum(
            p.label == "red" for p in predictor.stream(Request(data) for _ in range(count))
        )
        assert number == count
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(50)
    assert peak(1000) < 1.5 * peak(100)


def test_it_reads_no_further_ahead_than_needed(predictor: Predictor) -> None:
    taken = 0

    def requests() -> Iterator[Request]:
        nonlocal taken
        for _ in range(10_000):
            taken += 1
            yield Request(photo(RED))

    stream = predictor.stream(requests())
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert taken <= 4 * 4 + available_cores() + 4


def test_read_bytes(tmp_path: Path) -> None:
    assert read_bytes(b"x") == b"x"
    with pytest.raises(ImageError, match="No such file"):
        read_bytes(tmp_path / "nothing")
