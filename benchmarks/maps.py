"""Do the maps show what the network looks at? The checks of Adebayo et al. (2018), with intervals.

    python benchmarks/maps.py BUNDLE --data DIR [--methods gradcam …] [--seeds 3]

BUNDLE is a torch bundle with ImageNet's 1,000 classes; DIR holds `coco_mini` and `imagenet_200`.

- Boxes: for each photo of coco_mini and each category that has ImageNet classes (CATEGORIES), the
  share of the map's mass within the boxes of that category, against a uniform map (the boxes' share
  of the area), a blob in the middle, and the maps of networks with random weights. The class is the
  likeliest of the category's.
- Cascade: on imagenet_200, weights are replaced by random ones from the head downwards; how alike
  the maps remain. A method that only finds edges would not notice.
- Deletion and insertion (Petsiuk et al. 2018, "RISE"): the class's mean probability while the
  photo's pixels are greyed, or shown, in the map's order. imagenet_200 has no boxes.

Random weights are those that the network is begun with, by its own rules; the means and variances
of batch norms among them are found on photos, since with others such a network gives the same for
all.
Intervals (95 %) are bootstraps over photos.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save

import pocketlens as pl
from pocketlens.core.bootstrap import mean_interval
from pocketlens.core.bundle import Bundle, read_bundle, write_bundle
from pocketlens.core.decode import image_size
from pocketlens.core.predictor import Request
from pocketlens.core.scored import probabilities
from pocketlens.explain.moved import correlation, overlap, share_within
from pocketlens.runtimes._module import build, restore
from pocketlens.workflows.maps import Maps
from pocketlens.workflows.open import load

#: COCO category -> indices of ImageNet's classes of that kind, first and last.
CATEGORIES: dict[str, list[tuple[int, int]]] = {
    "dog": [(151, 268)], "cat": [(281, 285)], "bird": [(7, 24), (80, 100), (127, 146)],
    "bear": [(294, 297)], "zebra": [(340, 340)], "elephant": [(385, 386)], "sheep": [(348, 349)],
    "cow": [(345, 345)], "horse": [(339, 339)], "airplane": [(404, 404)],
    "boat": [(472, 472), (554, 554), (576, 576), (625, 625), (814, 814), (871, 871), (914, 914)],
    "bicycle": [(444, 444), (671, 671)], "motorcycle": [(665, 665), (670, 670)],
    "bus": [(654, 654), (779, 779), (874, 874)],
    "train": [(466, 466), (547, 547), (705, 705), (820, 820)], "truck": [(555, 555), (569, 569),
    (675, 675), (717, 717), (864, 864), (867, 867)], "car": [(436, 436), (468, 468), (511, 511),
    (609, 609), (627, 627), (656, 656), (661, 661), (751, 751), (817, 817)],
    "pizza": [(963, 963)], "banana": [(954, 954)], "orange": [(950, 950)], "broccoli": [(937, 937)],
    "hot dog": [(934, 934)], "umbrella": [(879, 879)], "laptop": [(620, 620), (681, 681)],
    "keyboard": [(508, 508)], "mouse": [(673, 673)], "remote": [(761, 761)], "clock": [(409, 409),
    (530, 530), (892, 892)], "toilet": [(861, 861)], "couch": [(831, 831)], "tv": [(851, 851),
    (664, 664)], "cell phone": [(487, 487)], "microwave": [(651, 651)], "toaster": [(859, 859)],
    "refrigerator": [(760, 760)], "traffic light": [(920, 920)], "parking meter": [(704, 704)],
    "bench": [(703, 703)], "backpack": [(414, 414)], "vase": [(883, 883)],
    "teddy bear": [(850, 850)], "tie": [(906, 906)], "cup": [(968, 968), (504, 504)],
    "wine glass": [(572, 572), (966, 966)],
    "bottle": [(440, 440), (720, 720), (737, 737), (898, 898), (907, 907)],
    "bowl": [(659, 659), (809, 809)], "potted plant": [(738, 738)],
}  # fmt: skip
#: Modules of timm's EfficientNets from the head downwards.
CASCADE = ("classifier", "conv_head", "bn2", "blocks.6", "blocks.5", "blocks.4", "blocks.3",
           "blocks.2", "blocks.1", "blocks.0", "conv_stem", "bn1")  # fmt: skip
SHOWN = ("classifier", "bn2", "blocks.5", "blocks.3", "bn1")
STEPS = 10


def main() -> None:
    """Check, and print tables in Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--methods", nargs="+", default=["gradcam", "gradcam++", "eigencam"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=200, help="of imagenet_200")
    given = parser.parse_args()
    bundle = read_bundle(given.bundle)
    requests, truth = imagenet(given.data / "imagenet_200", given.photos)
    with tempfile.TemporaryDirectory() as folder:
        photos = [np.asarray(prepared(bundle, r)) for r in requests[:: max(1, len(requests) // 48)]]
        randoms = [
            randomised(bundle, CASCADE, seed, photos, Path(folder) / f"r{seed}")
            for seed in range(given.seeds)
        ]
        boxes(bundle, randoms, given.data / "coco_mini", given.methods)
        cascade(bundle, requests, truth, photos, given.methods, Path(folder))
        deletion(bundle, randoms[0], requests, truth, given.methods)


def maps_of(
    bundle: Bundle, method: str, requests: Sequence[Request], classes: Iterable[int]
) -> list[NDArray[np.float32]]:
    """One map for each request and class."""
    with load(bundle) as predictor:
        maps = Maps(bundle, predictor, method)
        return [m.maps[0].map_HW for m in maps.of(requests, classes=classes)]


def prepared(bundle: Bundle, request: Request) -> NDArray[np.float32]:
    """A photo as the network takes it."""
    assert isinstance(request.source, str)
    return bundle.manifest.preprocess(Path(request.source).read_bytes(), request.box)


def randomised(
    bundle: Bundle,
    modules: Sequence[str],
    seed: int,
    photos: Sequence[NDArray[np.float32]],
    out: Path,
) -> Bundle:
    """The bundle with random weights in these modules."""
    torch.manual_seed(seed)
    network, fresh = restore(bundle), build(bundle).state_dict()
    state = network.state_dict()

    def is_chosen(name: str) -> bool:
        return any(name == m or name.startswith(f"{m}.") for m in modules)

    network.load_state_dict({k: fresh[k] if is_chosen(k) else v for k, v in state.items()})
    norms = [
        module
        for name, module in network.named_modules()
        if isinstance(module, torch.nn.BatchNorm2d) and is_chosen(name)
    ]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # plain means over all batches
        norm.train()
    with torch.no_grad():
        for start in range(0, len(photos), 16):
            network(torch.from_numpy(np.stack(photos[start : start + 16])))
    state = {k: v.contiguous() for k, v in network.state_dict().items()}
    return write_bundle(out, bundle.manifest, {"model.safetensors": save(state)})


def boxes(bundle: Bundle, randoms: list[Bundle], data: Path, methods: Sequence[str]) -> None:
    """Share of each map's mass within the boxes."""
    dataset = pl.read_dataset(data, labels="boxes")
    found: dict[tuple[str, str], list[object]] = defaultdict(list)
    for sample in dataset.samples:
        if CATEGORIES.get(sample.labels[0]) and sample.box is not None:
            found[dataset.file(sample), sample.labels[0]].append(sample.box)
    spec = bundle.manifest.preprocess
    kept, parts, classes = [], [], []
    with load(bundle) as predictor:
        for (path, category), within in found.items():
            part = inside(spec, path, within)
            if not 0.01 <= part.mean() <= 0.9:
                continue
            logits_K = predictor.logits(prepared(bundle, Request(path))[None])[0]
            meant = [i for low, high in CATEGORIES[category] for i in range(low, high + 1)]
            kept.append(Request(path))
            parts.append(part)
            classes.append(max(meant, key=lambda i: logits_K[i]))
    units = [str(request.source) for request in kept]
    print(f"\nBoxes: {len(kept)} pairs of photo and category, {len(set(units))} photos\n")
    print("| map | share of mass in the boxes, % | more than uniform | more than random weights |")
    print("|---|---|---|---|")
    area = [100 * float(part.mean()) for part in parts]
    print(f"| uniform | {words(area, units)} | | |")
    middle = [100 * (share_within(blob(spec.height, spec.width), p) or 0) for p in parts]
    more = [a - b for a, b in zip(middle, area, strict=True)]
    print(f"| blob in the middle | {words(middle, units)} | {words(more, units, sign=True)} | |")
    for method in methods:
        own = shares(bundle, method, kept, classes, parts, area)
        chance = np.mean([shares(r, method, kept, classes, parts, area) for r in randoms], axis=0)
        over, above = (
            words([a - b for a, b in zip(x, y, strict=True)], units, sign=True)
            for x, y in ((own, area), (own, list(chance)))
        )
        print(f"| {method} | {words(own, units)} | {over} | {above} |")
        over = words([a - b for a, b in zip(chance, area, strict=True)], units, sign=True)
        print(f"| {method}, random weights | {words(list(chance), units)} | {over} | |", flush=True)


def shares(
    bundle: Bundle, method: str, requests: Sequence[Request], classes: Sequence[int],
    parts: Sequence[NDArray[np.bool_]], area: Sequence[float],
) -> list[float]:  # fmt: skip
    """Percent of each map's mass in its part; a map of 0 counts as a uniform one."""
    found = zip(maps_of(bundle, method, requests, classes), parts, area, strict=True)
    shares = ((share_within(map_HW, part), alike) for map_HW, part, alike in found)
    return [alike if share is None else 100 * share for share, alike in shares]


def inside(spec: object, path: str, within: Sequence[object]) -> NDArray[np.bool_]:
    """Which pixels of the network's input lie in the boxes: they go the photo's own way."""
    width, height = image_size(Path(path).read_bytes())
    mask = np.zeros((height, width, 3), np.uint8)
    for x, y, w, h in within:  # type: ignore[misc]
        mask[round(y) : round(y + h), round(x) : round(x + w)] = 255  # type: ignore[has-type]
    part: NDArray[np.bool_] = spec.fit(mask)[..., 0] > 127  # type: ignore[attr-defined]
    return part


def blob(height: int, width: int) -> NDArray[np.float32]:
    """A bell in the middle, a quarter of the side wide: photographers aim."""
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    bell: NDArray[np.float32] = np.exp(-(x**2 + y**2) / (2 * 0.5**2)).astype(np.float32)
    return bell


def cascade(
    bundle: Bundle, requests: Sequence[Request], truth: Sequence[int],
    photos: Sequence[NDArray[np.float32]], methods: Sequence[str], folder: Path,
) -> None:  # fmt: skip
    """How alike maps remain while weights become random from the head downwards."""
    print(f"\nCascade: {len(requests)} photos; correlation with the trained network's map, and "
          "overlap of the strongest fifths\n")  # fmt: skip
    print("| random down to | " + " | ".join(f"{m}: correlation | overlap" for m in methods) + " |")
    print("|---" * (1 + 2 * len(methods)) + "|")
    before = {method: maps_of(bundle, method, requests, truth) for method in methods}
    for last in SHOWN:
        modules = CASCADE[: CASCADE.index(last) + 1]
        changed = randomised(bundle, modules, 0, photos, folder / f"to-{last}")
        cells = []
        for method in methods:
            after = maps_of(changed, method, requests, truth)
            for measure in (correlation, overlap):
                pairs = [measure(a, b) for a, b in zip(before[method], after, strict=True)]
                cells.append(words([v for v in pairs if v is not None], digits=2))
        print(f"| {last} | " + " | ".join(cells) + " |", flush=True)


def deletion(
    bundle: Bundle, random: Bundle, requests: Sequence[Request], truth: Sequence[int],
    methods: Sequence[str],
) -> None:  # fmt: skip
    """Mean probability of the class while pixels go, or come, in a map's order."""
    print(f"\nDeletion (low is good) and insertion (high is good): {len(requests)} photos, "
          f"{STEPS} steps, mean probability in %\n")  # fmt: skip
    print("| order | deletion | insertion |\n|---|---|---|")
    spec = bundle.manifest.preprocess
    rng = np.random.default_rng(0)
    cells = [rng.random((7, 7), dtype=np.float32) for _ in requests]
    noise = [
        np.asarray(Image.fromarray(c).resize((spec.width, spec.height), Image.Resampling.BILINEAR))
        for c in cells
    ]
    orders = {
        "random cells": noise,
        "blob in the middle": [blob(spec.height, spec.width)] * len(requests),
    }
    for method in methods:
        orders[method] = maps_of(bundle, method, requests, truth)
    orders["gradcam, random weights"] = maps_of(random, "gradcam", requests, truth)
    inputs = [prepared(bundle, request) for request in requests]
    for name, maps in orders.items():
        lost: list[float] = []
        won: list[float] = []
        with load(bundle) as predictor:
            for input_CHW, map_HW, index in zip(inputs, maps, truth, strict=True):
                rank = np.argsort(np.argsort(-map_HW.ravel(), kind="stable"), kind="stable")
                first = rank.reshape(map_HW.shape) / rank.size
                masks = np.stack([first >= k / STEPS for k in range(STEPS + 1)])[:, None]
                for kept, scores in ((masks, lost), (~masks, won)):
                    logits_NK = predictor.logits((input_CHW * kept).astype(np.float32))
                    of_class = [probabilities(row, "single_label")[index] for row in logits_NK]
                    scores.append(100 * float(np.mean(of_class)))
        print(f"| {name} | {words(lost)} | {words(won)} |", flush=True)


def imagenet(folder: Path, number: int) -> tuple[list[Request], list[int]]:
    """Photos, and the index of their class."""
    with (folder / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))[:number]
    return [Request(str(folder / r["image"])) for r in rows], [int(r["class_index"]) for r in rows]


def words(
    values: Sequence[float],
    units: Sequence[str] | None = None,
    *,
    sign: bool = False,
    digits: int = 1,
) -> str:
    """A mean with its interval."""
    found = mean_interval(values, units=units)
    kind = f"{'+' if sign else ''}.{digits}f"
    return f"{found.mean:{kind}} ({found.low:{kind}} to {found.high:{kind}})"


if __name__ == "__main__":
    main()
