"""From what is to be predicted to rows with answers, in order, holding few of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from pocketlens.core.judged import Judged, judge
from pocketlens.core.predictor import ImageSource, Prediction, Predictor, Request
from pocketlens.workflows._predict_inputs import Inputs, Item
from pocketlens.workflows._predict_regions import Regions


def rows_of(
    predictor: Predictor,
    inputs: Inputs,
    *,
    unsure_below: float | None,
    max_pixels: int,
    regions: Regions | None = None,
) -> Iterator[Judged]:
    """Rows in the order of the inputs; what can't be asked for is among them.

    Args:
        regions: finds the part of each photo to classify.
    """
    ahead: deque[Item] = deque()
    items = inputs.items()
    known = frozenset(predictor.classes)

    def requests() -> Iterator[Request]:
        for item in items:
            ahead.append(item)
            if item.source is not None:
                yield Request(item.source, item.box)

    def rows_before() -> Iterator[Judged]:
        while ahead and ahead[0].source is None:
            item = ahead.popleft()
            found = Prediction(item.name, predictor.classes, box=item.box, error=item.error)
            yield Judged(found, item.name, item.truth)

    def judged(prediction: Prediction) -> Judged:
        item = next(item for item in ahead if item.source is not None)
        source: ImageSource = item.name if item.source is None else item.source
        named = replace(prediction, filename=item.name)
        return judge(named, source, item.truth, unsure_below, known)

    rows: Iterator[Judged]
    if regions is None:
        rows = map(judged, predictor.stream(requests(), max_pixels=max_pixels))
    else:
        rows = regions.stream(predictor, requests(), judged, max_pixels=max_pixels)
    for row in rows:
        yield from rows_before()
        ahead.popleft()
        yield row
    yield from rows_before()
