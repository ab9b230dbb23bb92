"""The sanity checks of Adebayo et al. (2018) on real photos: maps lie on things, not at random."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save

import pocketlens as pl
from pocketlens.core.bootstrap import mean_interval
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.predictor import Request
from pocketlens.explain.moved import correlation, share_within
from pocketlens.runtimes._module import build, restore
from pocketlens.workflows.maps import Maps
from pocketlens.workflows.open import load

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Categories of COCO whose photos have one plain class of ImageNet.
CLASSES = {"zebra": 340, "pizza": 963, "bus": 779, "train": 705, "elephant": 386, "toilet": 861,
           "cat": 281, "dog": 207, "bear": 294, "airplane": 404, "motorcycle": 670, "clock": 409,
           "umbrella": 879, "laptop": 620, "bench": 703, "traffic light": 920}  # fmt: skip


@pytest.fixture(scope="module")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return pl.import_model("tf_efficientnet_lite0", out=tmp_path_factory.mktemp("m") / "lite0")


@pytest.fixture(scope="module")
def random_weights(lite0: Bundle, data_dir: Path) -> Bundle:
    """As it is begun, with batch norms' statistics of 32 photos."""
    torch.manual_seed(0)
    network = build(lite0)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()
        norm.train()
    files = sorted((data_dir / "imagenet_200").glob("*.JPEG"))[:32]
    spec = lite0.manifest.preprocess
    with torch.no_grad():
        network(torch.from_numpy(np.stack([spec(file.read_bytes()) for file in files])))
    assert restore(lite0).state_dict().keys() == network.state_dict().keys()
    content = save({k: v.contiguous() for k, v in network.state_dict().items()})
    return write_bundle(
        lite0.path.parent / "random", lite0.manifest, {"model.safetensors": content}
    )


def maps(bundle: Bundle, method: str, requests: list[Request], classes: list[int]) -> list:  # type: ignore[type-arg]
    with load(bundle) as predictor:
        found = Maps(bundle, predictor, method).of(requests, classes=classes)
        return [one.maps[0].map_HW for one in found]


@pytest.mark.parametrize("method", ["gradcam", "eigencam"])
def test_mass_lies_in_the_boxes(
    method: str, lite0: Bundle, random_weights: Bundle, data_dir: Path
) -> None:
    requests, classes, parts = [], [], []
    for part in ("train", "val"):
        file = data_dir / "coco_mini" / "annotations" / f"instances_{part}2017.json"
        coco = json.loads(file.read_text())
        names = {c["id"]: c["name"] for c in coco["categories"]}
        for image in coco["images"]:
            own = [a for a in coco["annotations"] if a["image_id"] == image["id"]]
            for name in {names[a["category_id"]] for a in own} & set(CLASSES):
                mask = np.zeros((image["height"], image["width"], 3), np.uint8)
                for a in own:
                    if names[a["category_id"]] == name:
                        x, y, w, h = (round(v) for v in a["bbox"])
                        mask[y : y + h, x : x + w] = 255
                seen = lite0.manifest.preprocess.fit(mask)[..., 0] > 127
                if 0.01 <= seen.mean() <= 0.9:
                    path = data_dir / "coco_mini" / f"{part}2017" / image["file_name"]
                    requests.append(Request(str(path)))
                    classes.append(CLASSES[name])
                    parts.append(seen)
    assert len(requests) > 20
    uniform = [float(part.mean()) for part in parts]
    shares = []
    for bundle in (lite0, random_weights):
        found = maps(bundle, method, requests, classes)
        each = zip(found, parts, uniform, strict=True)
        shares.append([u if (s := share_within(m, p)) is None else s for m, p, u in each])
    units = [str(request.source) for request in requests]
    for other in (uniform, shares[1]):
        more = mean_interval([a - b for a, b in zip(shares[0], other, strict=True)], units=units)
        assert more.low > 0, more


def test_maps_are_others_with_random_weights_and_the_same_in_int8(
    lite0: Bundle, random_weights: Bundle, data_dir: Path, tmp_path: Path
) -> None:
    folder = data_dir / "imagenet_200"
    files = sorted(str(f) for f in folder.glob("*.JPEG"))[:40]
    requests, classes = list(map(Request, files)), [None] * 40
    int8 = pl.compress(lite0, method="onnx-static", out=tmp_path / "int8", calibration=folder)
    trained = {m: maps(lite0, m, requests, classes) for m in ("gradcam", "eigencam")}  # type: ignore[arg-type]
    kept = maps(int8, "eigencam", requests, classes)  # type: ignore[arg-type]
    lost = maps(random_weights, "gradcam", requests, classes)  # type: ignore[arg-type]
    assert middle(trained["eigencam"], kept) > 0.9
    assert middle(trained["gradcam"], lost) < 0.4


def middle(a: list, b: list) -> float:  # type: ignore[type-arg]
    """The median of correlations."""
    pairs = (correlation(*pair) for pair in zip(a, b, strict=True))
    return float(np.median([value for value in pairs if value is not None]))
