"""`zoo`: many architectures side by side, only counted or trained on the same photos."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from pocketlens.core.directory import refuse_existing, write_text
from pocketlens.core.errors import UserError
from pocketlens.core.predictor import available_cores
from pocketlens.core.preprocess import Preprocess
from pocketlens.extras import require
from pocketlens.measures.latency import Timing, measure_latency
from pocketlens.progress import say, track, warn
from pocketlens.training.config import TrainConfig
from pocketlens.workflows._network import build_network
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._tracking import check_trackers
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows._zoo_table import PUBLISHED
from pocketlens.workflows.convert import export
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, data_paths
from pocketlens.workflows.open import as_bundle
from pocketlens.workflows.train import train

#: What shares of operations are counted from.
_YARDSTICK: Final = "mobilenetv1_100"
#: Networks that are timed in turns; each is a process that holds one.
_TIMED_TOGETHER: Final = 8
_TIMED_PHOTOS: Final = 16


@dataclass(frozen=True)
class ZooRow:
    """One architecture. Shares and scores in percent; None: not measured.

    Attributes:
        macs: multiply-adds of convolutions and linear layers for one image.
        size_bytes: 4 bytes a parameter.
        operations_share: `macs` in percent of MobileNetV1's (as it is, whatever `width`).
        accuracy, score, loss: on the test photos; `score` is the data's metric.
        latency_ms: float model in ONNX Runtime, batch 1.
        published_accuracy: of the published table, trained otherwise on other photos.
        reason: why there are no figures.
    """

    model: str
    params: int | None = None
    macs: int | None = None
    size_bytes: int | None = None
    operations_share: float | None = None
    metric: str | None = None
    score: float | None = None
    accuracy: float | None = None
    loss: float | None = None
    latency_ms: float | None = None
    published_accuracy: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Zoo:
    """All rows, in the order they were asked for."""

    rows: tuple[ZooRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        return {"rows": [asdict(row) for row in self.rows]}


def zoo(
    data: DataLike | None = None,
    *,
    models: Sequence[str] | None = None,
    num_classes: int | None = None,
    out: str | os.PathLike[str] | None = None,
    config: TrainConfig | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> Zoo:
    """Count, or train on the same split and score, many architectures.

    One that fails is a row with its reason. Leaves `OUT/NAME/` (the bundles), `OUT/zoo.csv` and
    `OUT/zoo.md`, written anew after each network.

    Args:
        data: photos to train on; without them parameters, operations and size only.
        models: names; by default the forty of a published table.
        num_classes: of the counted networks; those of the data where there are some.
        config: how each is trained; `model` is filled in. `image_size` is also that of counting.
        resume: keep networks that are trained already, go on with the one that isn't.

    Raises:
        UserError: no network could be used, or the data can't.
    """
    config = config or TrainConfig()
    names = list(dict.fromkeys(models if models else PUBLISHED))
    if data is None:
        found = _count(names, 1000 if num_classes is None else num_classes, config)
        if out is not None:
            target = Path(out)
            refuse_existing(target, overwrite=overwrite)
            with workplace(target, overwrite=overwrite):
                _write(target, found)
        return found
    if num_classes is not None:
        raise UserError("the data says how many classes there are; leave out --classes")
    if out is None:
        raise UserError("name the directory for the trained networks: --out")
    target = Path(out)
    check_trackers(config)
    if not resume:
        refuse_existing(target, overwrite=overwrite, inputs=data_paths(data))
    hashed = as_hashed(data)
    with workplace(target, resume=resume, overwrite=overwrite):
        return _train_all(hashed, names, target, config, threads)


def _count(names: Sequence[str], num_classes: int, config: TrainConfig) -> Zoo:
    if num_classes < 1:
        raise UserError("--classes must be at least 1")
    yardstick = _counted(_YARDSTICK, num_classes, replace(config, width=1.0))
    rows = [
        _with_share(_counted(name, num_classes, config), yardstick)
        for name in track(names, "counting", len(names))
    ]
    _refuse_all_failed(rows)
    return Zoo(tuple(rows))


def _counted(name: str, num_classes: int, config: TrainConfig) -> ZooRow:
    require("torch", extra="train")
    published = PUBLISHED.get(name) if config.width == 1 else None
    row = ZooRow(name, published_accuracy=None if published is None else published.accuracy)
    try:
        network = build_network(name, num_classes, config.width)
        size = config.image_size or network.family.defaults(name)["size"]
        facts = network.describe(Preprocess(size, size))
    except UserError as error:
        return replace(row, reason=str(error))
    params = facts["params"]
    return replace(row, params=params, macs=facts["macs"], size_bytes=4 * params)


def _with_share(row: ZooRow, yardstick: ZooRow) -> ZooRow:
    if row.macs is None or yardstick.macs is None:
        return row
    return replace(row, operations_share=100 * row.macs / yardstick.macs)


def _train_all(
    hashed: Hashed, names: Sequence[str], target: Path, config: TrainConfig, threads: int | None
) -> Zoo:
    num_classes = len(hashed.dataset.classes)
    yardstick = _counted(_YARDSTICK, num_classes, replace(config, width=1.0))
    rows: dict[str, ZooRow] = {}
    for number, name in enumerate(names, 1):
        row = _with_share(_counted(name, num_classes, config), yardstick)
        if not row.reason:
            say(f"{name}: {number} of {len(names)}")
            row = _trained(row, hashed, target, config, threads)
        rows[name] = row
        _write(target, Zoo(tuple(rows.values())))
    _refuse_all_failed(list(rows.values()))
    trained = [name for name, row in rows.items() if row.score is not None]
    for start in range(0, len(trained), _TIMED_TOGETHER):
        group = trained[start : start + _TIMED_TOGETHER]
        for name, timing in _timed(group, hashed, target, threads).items():
            reason = "" if timing.failed is None else f"can't be timed: {timing.failed}"
            latency_ms = None if timing.failed is not None else timing.latency_ms
            rows[name] = replace(rows[name], latency_ms=latency_ms, reason=reason)
    found = Zoo(tuple(rows.values()))
    _write(target, found)
    return found


def _trained(
    row: ZooRow, hashed: Hashed, target: Path, config: TrainConfig, threads: int | None
) -> ZooRow:
    try:
        bundle = train(
            hashed,
            out=target / _folder(row.model),
            config=replace(config, model=row.model),
            threads=threads,
            resume=True,
        )
    except UserError as error:
        warn(f"{row.model} failed: {error}")
        return replace(row, reason=str(error))
    scores = bundle.manifest.metrics
    tested = scores["test"]
    return replace(
        row,
        metric=scores["metric"],
        score=tested[scores["metric"]],
        accuracy=tested["accuracy"],
        loss=tested["loss"],
        params=bundle.manifest.model["params"],
    )


def _timed(
    names: Sequence[str], hashed: Hashed, target: Path, threads: int | None
) -> dict[str, Timing]:
    """Latency of the float ONNX models, in turns."""
    timings: dict[str, Timing] = {}
    places: dict[str, Path] = {}
    for name in names:
        bundle = as_bundle(target / _folder(name))
        place = target / f"{_folder(name)}-onnx"
        try:
            export(bundle, runtime="onnx", out=place, overwrite=True)
            places[name] = place
        except UserError as error:
            timings[name] = Timing(failed=str(error))
    if not places:
        return timings
    examples = examples_of(as_bundle(target / _folder(names[0])), hashed, "test")
    requests = [examples.request(i) for i in range(min(_TIMED_PHOTOS, len(examples)))]
    return timings | measure_latency(places, requests, threads=threads or available_cores())


def _folder(name: str) -> str:
    return name.replace("/", "-")


def _refuse_all_failed(rows: Sequence[ZooRow]) -> None:
    if rows and all(row.reason and row.params is None for row in rows):
        raise UserError(rows[0].reason)


def _write(target: Path, found: Zoo) -> None:
    """`zoo.csv` and `zoo.md`."""
    names = [field.name for field in fields(ZooRow)]
    lines = [[getattr(row, name) for name in names] for row in found.rows]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(["" if cell is None else cell for cell in line] for line in lines)
    write_text(target / "zoo.csv", text.getvalue())
    write_text(target / "zoo.md", describe(found))


def describe(found: Zoo) -> str:
    """The table in Markdown; columns that no row has are left out."""
    titles = {
        "model": "model",
        "params": "parameters, M",
        "macs": "multiply-adds, M",
        "operations_share": "of MobileNetV1's, %",
        "size_bytes": "size, MiB",
        "score": "score, %",
        "accuracy": "accuracy, %",
        "loss": "loss",
        "latency_ms": "latency, ms",
        "published_accuracy": "published accuracy, %",
        "reason": "reason",
    }
    shown = [n for n in titles if any(getattr(row, n) not in (None, "") for row in found.rows)]
    lines = [f"| {' | '.join(titles[name] for name in shown)} |", f"|{'---|' * len(shown)}"]
    lines += [
        f"| {' | '.join(_cell(name, getattr(row, name)) for name in shown)} |" for row in found.rows
    ]
    note = (
        "Operations are multiply-adds of convolutions and linear layers for one image; size is "
        "4 bytes a parameter. Published accuracies (StitchingNet, all photos) are of another "
        "training and another split."
    )
    return "\n".join([*lines, "", note]) + "\n"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name in ("params", "macs"):
        return f"{value / 1e6:.2f}"
    if name == "size_bytes":
        return f"{value / 2**20:.2f}"
    return f"{value:.2f}" if isinstance(value, float) else str(value).replace("|", "\\|")
