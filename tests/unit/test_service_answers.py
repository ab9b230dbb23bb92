"""What clients are told of predictions."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pocketlens.core.bundle import Lineage, Manifest
from pocketlens.core.predictor import Predictor, Request
from pocketlens.core.preprocess import Preprocess
from pocketlens.core.session import FakeSession
from pocketlens.service import answers

PLAIN = Preprocess(8, 8, "stretch", mean=(0, 0, 0), std=(1, 1, 1))


def opened(task: Any = "single_label", gain: float = 8.0, box_margin: float = 0.0) -> Predictor:
    manifest = Manifest(
        task=task,
        classes=("red", "green", "blue"),
        preprocess=replace(PLAIN, box_margin=box_margin),
        runtime="fake",
        precision="float32",
        model={},
        lineage=Lineage(),
        class_info={"red": {"dl_name": "Rot", "wavelength": 700}},
    )
    network = FakeSession(lambda input_NCHW: gain * (input_NCHW.mean(axis=(2, 3)) - 0.5))
    return Predictor(manifest, network, batch_size=2)


def photo(colour: tuple[int, int, int]) -> np.ndarray:
    return np.full((10, 12, 3), colour, np.uint8)


def ask(
    predictor: Predictor,
    images: list[bytes],
    boxes: Any = None,
    top_k: int = 5,
    max_pixels: int = 25_000_000,
) -> Any:
    wanted = answers.asked(images, boxes)
    requests = [Request(one.data, one.box) for one in wanted]
    found = list(predictor.stream(requests, max_pixels=max_pixels))
    return answers.result(predictor.manifest, "m" * 32, wanted, found, top_k=top_k)


def test_an_answer_has_name_information_and_the_most_probable(encode: Callable[..., bytes]) -> None:
    found = ask(opened(), [encode(photo((255, 0, 0)))], top_k=2)
    assert found["model_id"] == "m" * 32
    assert found["task"] == "single_label"
    [entry] = found["predictions"]
    assert (entry["label"], entry["name"], entry["class_id"]) == ("red", "Rot", 0)
    assert entry["info"] == {"dl_name": "Rot", "wavelength": 700}
    assert entry["confidence"] > 0.99
    assert not entry["unsure"]
    assert [one["label"] for one in entry["top"]] == ["red", "green"]
    assert entry["labels"] == entry["top"][:1]
    assert (entry["error"], entry["code"], entry["box"], entry["image"]) == (None, None, None, 0)
    assert json.loads(json.dumps(found)) == found


def test_a_whole_photo_where_boxes_are_expected(encode: Callable[..., bytes]) -> None:
    images = [encode(photo((255, 0, 0))), b"", encode(photo((255, 0, 0)))]
    boxes = [None, None, [0, 0, 6, 10]]
    for margin, expected in ((0.0, []), (0.1, ["box_expected"])):
        found = ask(opened(box_margin=margin), images, boxes)["predictions"]
        hints = [[hint["code"] for hint in entry["hints"]] for entry in found]
        assert hints == [expected, [], []]
        assert all("`boxes`" in hint["text"] for hint in found[0]["hints"])


def test_an_improbable_answer_is_unsure(encode: Callable[..., bytes]) -> None:
    [entry] = ask(opened(gain=0.1), [encode(photo((255, 0, 0)))])["predictions"]
    assert entry["label"] == "red"
    assert entry["unsure"]


def test_several_boxes_of_an_image_are_several_answers(encode: Callable[..., bytes]) -> None:
    halves = photo((255, 0, 0))
    halves[:, 6:] = (0, 0, 255)
    images = [encode(photo((0, 255, 0))), encode(halves)]
    found = ask(opened(), images, [None, [[0, 0, 6, 10], [6, 0, 6, 10]]])["predictions"]
    assert [one["label"] for one in found] == ["green", "red", "blue"]
    assert [one["image"] for one in found] == [0, 1, 1]
    assert [one["box"] for one in found] == [None, [0, 0, 6, 10], [6, 0, 6, 10]]


def test_several_labels(encode: Callable[..., bytes]) -> None:
    [entry] = ask(opened("multi_label"), [encode(photo((255, 0, 255)))])["predictions"]
    assert {one["label"] for one in entry["labels"]} == {"red", "blue"}
    assert (entry["label"], entry["name"], entry["class_id"]) == (None, None, None)
    assert entry["info"] == {"red": {"dl_name": "Rot", "wavelength": 700}}


def test_what_cannot_be_used_says_why_without_inner_names(encode: Callable[..., bytes]) -> None:
    whole = encode(photo((255, 0, 0)))
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    floats = encode(np.zeros((4, 4), np.float32), "TIFF")
    images = [
        b"",
        b"just text",
        encode(noise)[:2000],
        encode(noise, "JPEG")[:2000],
        whole[:20],
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        floats,
        whole,
        whole,
        whole,
    ]
    boxes = [None] * 7 + [[50, 50, 5, 5], [0, 0, 0, 5], [0, 0, float("nan"), 5]]
    found = ask(opened(), images, boxes)
    codes = [one["code"] for one in found["predictions"]]
    assert codes == [
        "empty_image",
        "unknown_image_format",
        *["damaged_image"] * 3,
        "svg_image",
        "unreadable_image",
        *["bad_box"] * 3,
    ]
    told = json.dumps([one["error"] for one in found["predictions"]])
    assert "BytesIO" not in told
    assert "Plugin" not in told
    assert not answers.is_usable(found)
    assert answers.no_usable(found) == "none of 10 images can be used: the file is empty"
    for entry in found["predictions"]:
        assert (entry["label"], entry["confidence"], entry["top"]) == (None, None, [])


def test_one_bad_image_leaves_the_others(encode: Callable[..., bytes]) -> None:
    found = ask(opened(), [b"", encode(photo((0, 0, 255))), b"text"])
    assert [one["label"] for one in found["predictions"]] == [None, "blue", None]
    assert answers.is_usable(found)


def test_too_many_pixels(encode: Callable[..., bytes]) -> None:
    found = ask(opened(), [encode(photo((0, 0, 0)))], max_pixels=119)
    assert found["predictions"][0]["code"] == "too_many_pixels"
    assert "raise" not in found["predictions"][0]["error"]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_no_number(encode: Callable[..., bytes], value: float) -> None:
    predictor = opened(gain=value)
    [entry] = ask(predictor, [encode(photo((255, 0, 0)))])["predictions"]
    assert entry["code"] == "not_finite"
