"""A small made-up exploration, for the golden page."""

from __future__ import annotations

from pocketlens.core.exploration import (
    Bin,
    Clusters,
    CopyGroup,
    Duplicates,
    Exploration,
    Mixed,
    Neighbours,
    Place,
    Recall,
    Sizes,
    Suspect,
)
from pocketlens.reports._explore import Pictures
from support.comparisons import PIXEL


def small() -> tuple[Exploration, Pictures]:
    """Six samples of two classes, one of them doubtful, two of them copies."""
    samples = tuple(
        Place(f"{label}/{i}.jpg", None, (label,), x, y, int(x > 0))
        for i, (label, x, y) in enumerate(
            [("ok", -1.0, 0.2), ("ok", -0.8, 0.0), ("ok", 0.9, 0.3), ("torn", 1.0, 0.1),
             ("torn", 0.8, -0.2), ("torn", 0.7, 0.4)]
        )
    )  # fmt: skip
    spread = {"min": 100.0, "median": 200.0, "max": 300.0}
    sizes = Sizes(
        6,
        spread,
        spread,
        ({"width": 200, "height": 200, "count": 4}, {"width": 100, "height": 300, "count": 2}),
        (Bin("64 to 128 px", 2), Bin("128 to 256 px", 4)),
        (Bin("taller than 2:1", 2), Bin("square", 4)),
    )
    found = Exploration(
        data={"name": "seams", "format": "image-folder", "task": "single_label",
              "num_samples": 12, "num_classes": 2, "num_looked_at": 6, "num_unlabelled": 0,
              "num_groups": 0},
        class_counts={"ok": 9, "torn": 3},
        imbalance=3.0,
        samples=samples,
        photo_sizes=sizes,
        unreadable=({"filename": "ok/bad.jpg", "reason": "the file is empty"},),
        duplicates=Duplicates(2, 1, (CopyGroup(("ok/0.jpg", "ok/1.jpg"), ("ok",), False),)),
        features={"network": "lite0", "weights": "package", "num_features": 1280},
        plane={"explained": [61.0, 12.0]},
        clusters=Clusters(
            2, 0.61, {2: 0.61, 3: 0.4}, 0.32, (0, 3), ({"torn": 3, "ok": 1}, {"ok": 2})
        ),
        neighbours=Neighbours(
            5, 6, 83.3, 83.3, 50.0, None, {"ok": Recall(3, 66.7), "torn": Recall(3, 100.0)},
            (Mixed("ok", "torn", 33.3, 0.0, 16.7, "often mixed up"),),
            "most classes can be told apart; training will have to do the rest",
        ),
        suspects=(Suspect(2, "ok", "torn", 100.0, 0.4, (3, 4, 5)),),
        notes=("Counts are of all 12 samples; everything else is of 6.",),
        config={"max_photos": 6, "seed": 0},
    )  # fmt: skip
    pictures = Pictures(
        thumbnails=dict.fromkeys(range(6), PIXEL),
        sheets={"ok": [0, 1, 2], "torn": [3, 4, 5]},
        copies=[[0, 1]],
        means={"": PIXEL, "ok": PIXEL},
    )
    return found, pictures
