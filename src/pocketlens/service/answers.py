"""What a client is told of predictions: the JSON result of a prediction, and why there is none.

The direct path and the durable one both make their answers here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from pocketlens.core.bundle import Manifest
from pocketlens.core.dataset import Box
from pocketlens.core.judged import unsure_limit
from pocketlens.core.names import shown_name
from pocketlens.core.predictor import NOT_FINITE, Prediction

#: The code of a job none of whose images could be used.
NO_USABLE_IMAGE: Final = "no_usable_image"

#: Of a photo that was asked for whole, where the network has learnt from boxes cut out of photos.
_BOX_EXPECTED: Final = {
    "code": "box_expected",
    "text": "the model has learnt from things cut out of photos; a whole photo is another thing to "
    "it: name its box by `boxes`",
}

#: Of what the core says: the code for programs, and the text for people where the core's own
#: speaks of options that a client doesn't have, or quotes a reader's inner names.
_REASONS: Final = (
    (r"the file is empty", "empty_image", None),
    (r"not an image in a known format.*SVG", "svg_image", None),
    (r"not an image in a known format", "unknown_image_format", None),
    (r"\d+x\d+ pixels is above the limit", "too_many_pixels", "more pixels than are allowed"),
    (r"the box .* (lies outside|has no area|is not finite)", "bad_box", None),
    (r"32-bit or floating-point pixels|pixels of kind", "unreadable_image", None),
    (r"", "damaged_image", "damaged or cut off"),
)


class Asked(NamedTuple):
    """One thing that was asked for: which image of the request, its bytes, perhaps a box."""

    image: int
    data: bytes
    box: Box | None = None


def asked(images: Sequence[bytes], boxes: Sequence[Any] | None = None) -> list[Asked]:
    """One entry an image, or one a box where an image has several.

    Args:
        images: encoded files as they were uploaded.
        boxes: one entry an image: None, `[x, y, width, height]`, or a list of such; checked
            already by who took the request.
    """
    found = []
    for number, data in enumerate(images):
        given = boxes[number] if boxes is not None else None
        several = given if given and isinstance(given[0], list | tuple) else [given]
        found += [Asked(number, data, None if b is None else Box(*b)) for b in several]
    return found


def result(
    manifest: Manifest,
    model_id: str,
    wanted: Iterable[Asked],
    predictions: Iterable[Prediction],
    *,
    top_k: int = 5,
) -> dict[str, Any]:
    """The JSON result of predictions in the order of what was asked for."""
    pairs = zip(wanted, predictions, strict=True)
    entries = [entry(manifest, one, prediction, top_k) for one, prediction in pairs]
    return {"model_id": model_id, "task": manifest.task, "predictions": entries}


def is_usable(result: dict[str, Any]) -> bool:
    """Whether at least one image was answered; otherwise its job is Failed."""
    return any(entry["error"] is None for entry in result["predictions"])


def no_usable(result: dict[str, Any]) -> str:
    """The reason of a job none of whose images could be used."""
    first = result["predictions"][0]["error"] if result["predictions"] else "none was given"
    num = len(result["predictions"])
    whole = "the image can't be used" if num == 1 else f"none of {num} images can be used"
    return f"{whole}: {first}"


def entry(manifest: Manifest, one: Asked, prediction: Prediction, top_k: int) -> dict[str, Any]:
    """One answer as JSON; every key is there whether or not it could be answered."""
    top = [_scored(manifest, *pair) for pair in prediction.top(top_k)]
    single = manifest.task == "single_label"
    label, confidence = prediction.label, prediction.confidence
    said = [label] if label is not None else prediction.labels
    code, error = (None, None) if prediction.error is None else reason(prediction.error)
    limit = unsure_limit(len(manifest.classes))
    whole = one.box is None and error is None and manifest.preprocess.box_margin > 0
    return {
        "image": one.image,
        "box": None if one.box is None else list(one.box),
        "label": label,
        "name": None if label is None else shown_name(label, prediction.info),
        "class_id": prediction.index,
        "confidence": confidence,
        "unsure": single and confidence is not None and confidence < limit,
        "labels": [_scored(manifest, name, _probability(prediction, name)) for name in said],
        "top": top,
        "info": dict(prediction.info),
        "hints": [dict(_BOX_EXPECTED)] if whole else [],
        "error": error,
        "code": code,
    }


def reason(error: str) -> tuple[str, str]:
    """The code and the text of an image that can't be used, as a client may see them."""
    if error == NOT_FINITE:
        return "not_finite", error
    for pattern, code, text in _REASONS:
        if re.match(pattern, error):
            return code, text or error
    raise AssertionError(error)


def _scored(manifest: Manifest, label: str, probability: float) -> dict[str, Any]:
    return {
        "label": label,
        "name": shown_name(label, manifest.class_info.get(label, {})),
        "class_id": manifest.classes.index(label),
        "probability": probability,
    }


def _probability(prediction: Prediction, label: str) -> float:
    assert prediction.probabilities_K is not None
    return float(prediction.probabilities_K[prediction.classes.index(label)])
