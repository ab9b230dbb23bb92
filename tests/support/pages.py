"""Every HTML page, made of much and of names that mean harm: what tests check and people look at.

`python tests/support/pages.py DIR` writes them, with names as people give them, to look at.
"""

from __future__ import annotations

import base64
import io
import itertools
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image

from pocketlens.core.dataset import Box
from pocketlens.core.explained import Explanations, Look, Moved, Row, Source
from pocketlens.core.exploration import CopyGroup, Duplicates, Mixed, Place, Recall, Suspect
from pocketlens.core.judged import Judged, State
from pocketlens.core.predictor import Prediction
from pocketlens.core.tally import Tally
from pocketlens.reports import _explore, _maps, _predictions, html
from support import comparisons, explorations

HOSTILE: Final = comparisons.NASTY
_KOREAN: Final = (
    "균열",
    "핑거 단선",
    "흑심",
    "모서리 파손",
    "납땜 불량",
    "정상",
    "오염",
    "층간 박리",
)


def korean(number: int) -> tuple[str, ...]:
    """Names as inspectors in a factory give them, some of them long."""
    return tuple(
        f"{_KOREAN[i % len(_KOREAN)]} {i // len(_KOREAN) + 1}형"
        + (
            " (전면 유리 아래, 버스바 사이에서 시작하여 모서리까지 이어지는 것)"
            if i % 17 == 3
            else ""
        )
        for i in range(number)
    )


def comparison(classes: Sequence[str]) -> str:
    """The page of `compare`, `shrink` and `fit`."""
    made = comparisons.full(max(12, len(classes)))
    old = dict(zip(made.classes, classes, strict=False))
    row = made.rows[3].name
    return html.render(
        replace(
            made,
            classes=tuple(classes),
            # Matrices are kept up to 60 classes.
            confusion=made.confusion if len(classes) <= 60 else {},
            damage=tuple(replace(d, label=old[d.label]) for d in made.damage if d.label in old),
            flips=tuple(
                replace(f, truth=old[f.truth], before=old[f.before], after=old[f.after],
                        filename=f"시험/{old[f.truth][:20]}/cell{i:04}.png")
                for i, f in enumerate(made.flips) if {f.truth, f.before, f.after} <= set(old)
            ),
            notes=(*made.notes, f"{row}: {classes[0]}"),
            data={**made.data, "name": classes[0], "num_classes": len(classes)},
        )
    )  # fmt: skip


def exploration(classes: Sequence[str]) -> str:
    """The page of `explore`: four samples a class."""
    pick = random.Random(1)
    found, _ = explorations.small()
    samples = tuple(
        Place(f"사진/{label[:30]}/{i:04}.png", Box(1, 2, 30, 40) if i % 2 else None, (label,),
              pick.gauss(k % 9, 0.7), pick.gauss(k % 4, 0.6), k % 3)
        for k, label in enumerate(classes) for i in range(4)
    )  # fmt: skip
    first, second, third = classes[0], classes[1], classes[2]
    assert found.duplicates is not None
    assert found.neighbours is not None
    names = [samples[0].filename, samples[1].filename]
    made = replace(
        found,
        data={**found.data, "name": first, "num_samples": 9 * len(classes) ** 2 // 2,
              "num_classes": len(classes), "num_looked_at": len(samples)},
        class_counts={name: 9 * (i + 1) for i, name in enumerate(classes)},
        samples=samples,
        unreadable=tuple({"filename": name, "reason": "the file is empty"} for name in classes[:9]),
        duplicates=Duplicates(9, 9, tuple(CopyGroup(tuple(names), (first, second), True)
                                          for _ in range(9))),
        clusters=replace(found.clusters, composition=(dict.fromkeys(classes, 3), {first: 1})),
        neighbours=replace(
            found.neighbours,
            by_class={name: Recall(4, 100 * pick.random()) for name in classes},
            pairs=tuple(Mixed(a, b, 33.3, 11.2, 16.7, "often mixed up")
                        for a, b in itertools.pairwise(classes)),
        ),
        suspects=tuple(Suspect(i, samples[i].labels[0], third, 90.0, 0.4, (1, 2, 3))
                       for i in range(0, len(samples), 7)),
        notes=(*found.notes, first),
        class_names={second: third},
        config={"data": first, "seed": 0},
    )  # fmt: skip
    pictures = _explore.Pictures(
        thumbnails={i: comparisons.thumbnail(i % 40) for i in range(len(samples))},
        sheets={name: [4 * k, 4 * k + 1] for k, name in enumerate(classes)},
        copies=[[0, 1]] * 9,
        means={"": comparisons.thumbnail(0), first: comparisons.thumbnail(1)},
    )
    return _explore.render(made, pictures)


def predictions(classes: Sequence[str], number: int = 5000) -> str:
    """The page of `predict`, with the truth of most images."""
    rng = np.random.default_rng(2)
    tally = Tally("single_label")
    kept: dict[State, list[tuple[Judged, Image.Image | None]]] = {}
    for i in range(number):
        name = f"검사/{classes[i % len(classes)][:40]}/{i:05}.png"
        if i % 611 == 5:
            row = Judged(Prediction(name, tuple(classes), error="the file is empty"), name)
        else:
            sure = float(rng.beta(4, 1.2))
            k = int(rng.integers(len(classes)))
            true = k if rng.random() < sure else int(rng.integers(len(classes)))
            found = Prediction(name, tuple(classes), label=classes[k], confidence=sure)
            row = Judged(found, name, (classes[true],) if i % 5 else None, sure < 0.5)
        tally.take(row)
        if row.state == "error":
            continue
        shown = kept.setdefault(row.state, [])
        if len(shown) < 24:
            shown.append((row, None if i % 7 == 3 else _photo(i)))
    settings = {"bundle": classes[0], "unsure_below": 0.5, "data": f"{classes[0]} (5,000)"}
    shown_names = {classes[1]: classes[2]}
    return _predictions.render(tally, kept, shown=shown_names, settings=settings, num_overlays=9)


def maps(classes: Sequence[str]) -> str:
    """The page of `explain`, of three bundles."""
    sources = [
        Source(name, "ab" * 16, name, runtime, precision, "bn2", f"Grad-CAM at {name}")
        for name, runtime, precision in (
            (classes[0], "torch", "float32"), (classes[1], "onnx", "int8"), ("c", "litert", "int8"),
        )
    ]  # fmt: skip
    rows = []
    for i, name in enumerate(classes[:40]):
        first = Look((name,), name, name, 0.93)
        second = replace(first, correlation=0.97, overlap=0.8, flat=i == 2)
        third = Look(error=name) if i == 1 else replace(second, answer=(classes[2],))
        rows.append(Row(f"사진/{name[:40]}.png", (1.0, 2.0, 3.0, 4.0) if i % 2 else None,
                        (first, second, third), f"maps/{i}.png"))  # fmt: skip
    moved = [Moved(38, 39, (0.8, 0.93, 0.99), (0.5, 0.7, 0.9)), Moved(0, None, None, None)]
    found = Explanations("auto", "gradcam", 0.2, sources, rows, moved, (classes[0],))
    panels = [
        [comparisons.thumbnail(j) for j in range(4)] if i < 30 else [] for i in range(len(rows))
    ]
    return _maps.render(found, panels)


def _photo(seed: int) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(comparisons.thumbnail(seed % 40)))).convert("RGB")


#: Template of a page -> what makes it of names of classes.
MAKERS: Final[dict[str, Callable[[Sequence[str]], str]]] = {
    "compare.html": comparison,
    "explore.html": exploration,
    "maps.html": maps,
    "predict.html": predictions,
}

if __name__ == "__main__":
    for template, make in MAKERS.items():
        for number in (12, 200):
            place = Path(sys.argv[1]) / f"{Path(template).stem}-{number}.html"
            place.write_text(make(korean(number)), encoding="utf-8")
        odd = (*HOSTILE, *korean(20))
        (Path(sys.argv[1]) / f"{Path(template).stem}-odd.html").write_text(
            make(odd), encoding="utf-8", errors="backslashreplace"
        )
