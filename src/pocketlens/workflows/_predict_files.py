"""`predictions.csv` and `predictions.json`, written as the rows come."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

import numpy as np
import orjson

from pocketlens.core.dataset import LABEL_SEPARATOR
from pocketlens.core.judged import Judged
from pocketlens.core.predictor import Prediction, Predictor
from pocketlens.core.scored import Floats
from pocketlens.core.text import csv_cell

_END: Final = "\r\n"
#: Digits of a probability: as many as a float32 logit carries. Fewer would make ties, and ties
#: another mAP.
_DIGITS: Final = 9


class Tables:
    """Takes rows one by one; close it when the last has come."""

    def __init__(
        self, folder: Path, predictor: Predictor, top_k: int, region: str | None = None
    ) -> None:
        self._region = region
        self._multi = predictor.manifest.task == "multi_label"
        self._num_classes = len(predictor.classes)
        self._top_k = top_k
        self._table: BinaryIO = (folder / "predictions.csv").open("wb")
        # In JSON the same bytes, which are no UTF-8, become an escape that JSON knows.
        self._objects: TextIO = (folder / "predictions.json").open(
            "w", encoding="utf-8", errors="backslashreplace"
        )
        self._separator = "["
        single = ("predicted_class", "predicted_label", "confidence")
        names = ("labels", "scores") if self._multi else single
        probabilities = [f"prob_{name}" for name in predictor.classes]
        header = ["filename", *names, *probabilities, "box", "error"]
        self._table.write(_encode(f"{_line(header)}{_END}"))

    def take(self, row: Judged) -> None:
        """Write a row."""
        found = row.prediction
        self._table.write(csv_row(found, self._multi, self._num_classes))
        values = to_dict(found, self._top_k)
        if found.error is None:
            values["unsure"] = row.unsure
        if row.regional is not None:
            values["region"] = self._region_of(row)
        if row.truth is not None:
            values |= {"truth": list(row.truth), "right": row.right}
        self._objects.write(f"{self._separator}\n{json.dumps(values, ensure_ascii=False)}")
        self._separator = ","

    def _region_of(self, row: Judged) -> dict[str, Any]:
        """A row's region, and what the whole photo's answer is."""
        assert row.regional is not None
        plain, region = row.regional.plain.prediction, row.regional.region
        values: dict[str, Any] = {"kind": self._region}
        if region is not None:
            values |= {"box": list(region.box), "share": region.share}
            if region.detail:
                values["detail"] = region.detail
        if plain.error is not None:
            values["plain"] = {"error": plain.error}
        else:
            values["plain"] = {"label": plain.label, "confidence": plain.confidence}
            if self._multi:
                values["plain"]["labels"] = list(plain.labels)
        if row.changed is not None:
            values["changed"] = row.changed
        return values

    def close(self) -> None:
        """Write what comes after the last row."""
        self._table.close()
        if not self._objects.closed:
            self._objects.write("\n]\n" if self._separator == "," else "[\n]\n")
            self._objects.close()


def csv_row(prediction: Prediction, multi: bool, num_classes: int) -> bytes:
    """A row as a line of CSV with its end."""
    probs = prediction.probabilities_K
    answer: list[Any]
    if probs is None:
        answer = ["", ""] if multi else ["", "", ""]
        # A comma goes between two values.
        numbers = b"," * (num_classes - 1)
    else:
        numbers = _numbers(probs)
        if multi:
            score = dict(zip(prediction.classes, probs, strict=True))
            answer = [
                csv_cell(LABEL_SEPARATOR.join(prediction.labels)),
                LABEL_SEPARATOR.join(_number(score[name]) for name in prediction.labels),
            ]
        else:
            label = csv_cell(prediction.label or "")
            answer = [prediction.index, label, _number(prediction.confidence or 0.0)]
    box = "" if prediction.box is None else str(prediction.box)
    error = csv_cell(prediction.error or "")
    before = _line([csv_cell(prediction.filename), *answer])
    return _encode(f"{before},") + numbers + _encode(f",{_line([box, error])}{_END}")


def _line(values: list[Any]) -> str:
    out = io.StringIO()
    # Before Python 3.13 a line break within a value is quoted only where it is in the terminator.
    csv.writer(out, lineterminator=_END).writerow(values)
    return out.getvalue().removesuffix(_END)


def _encode(text: str) -> bytes:
    # File names may hold bytes that are no UTF-8.
    return text.encode("utf-8", "surrogateescape")


def _number(probability: float) -> str:
    return f"{probability:.{_DIGITS}g}"


def _numbers(probabilities_K: Floats) -> bytes:
    """All of them rounded to `_DIGITS` and joined by commas.

    A thousand classes written one by one cost as much as a small network, hence all at once: what
    is rounded already is written short by any writer of floats.
    """
    # Below it, 10 to that power is no float any more; such a value is written as it is.
    tiny_K = probabilities_K < 1e-290
    before_point_K = np.floor(np.log10(np.where(tiny_K, 1.0, probabilities_K))) + 1
    scale_K = 10.0 ** (_DIGITS - before_point_K)
    rounded_K = np.where(tiny_K, probabilities_K, np.rint(probabilities_K * scale_K) / scale_K)
    return orjson.dumps(rounded_K, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]


def to_dict(prediction: Prediction, top_k: int = 5) -> dict[str, Any]:
    """A prediction as plain values."""
    values: dict[str, Any] = {"filename": prediction.filename}
    if prediction.error is not None:
        values["error"] = prediction.error
    else:
        top = [{"label": name, "probability": p} for name, p in prediction.top(top_k)]
        values |= {"label": prediction.label, "index": prediction.index}
        values |= {"confidence": prediction.confidence, "top": top}
        if prediction.label is None:
            values["labels"] = list(prediction.labels)
        if prediction.info:  # of several labels by label
            values["info"] = dict(prediction.info)
    if prediction.box is not None:
        values["box"] = list(prediction.box)
    return values
