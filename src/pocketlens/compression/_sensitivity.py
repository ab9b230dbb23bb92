"""How much each layer's quantization costs: in how the answers change, and in time.

Both ways, since they tell different things: a layer quantized alone in a float network shows what
it does by itself; a layer left alone in float in a quantized network shows what would be gained by
leaving it out, with all the others' noise around it.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pocketlens.compression._onnx import load_model, session_of
from pocketlens.compression._static import Ranges, StaticConfig, layer_names, quantize
from pocketlens.core.session import Session
from pocketlens.progress import bar

#: The least that a layer in float is taken to cost, as a share of the whole network's time.
_LEAST_COST: Final = 0.01


@dataclass(frozen=True)
class Change:
    """What a model's answers lost against the float network's.

    Attributes:
        divergence: mean Kullback-Leibler divergence over the photos, in nats (several labels a
            photo: mean over the classes too).
        agreement: photos with the same largest logit, in percent.
        latency_ms: of one photo; None where it wasn't measured.
    """

    divergence: float
    agreement: float
    latency_ms: float | None = None


@dataclass(frozen=True)
class Sensitivity:
    """Of each layer: it alone quantized, and it alone in float.

    Attributes:
        whole: all quantized; `none`: nothing.
    """

    whole: Change
    none: Change
    only: Mapping[str, Change]
    without: Mapping[str, Change]

    def worst_first(self) -> list[str]:
        """Layers by what is gained by leaving them in float: divergence that goes, for each
        millisecond that comes where times were measured. What gains nothing is last.
        """

        def gain(layer: str) -> float:
            found = self.without[layer]
            gained = self.whole.divergence - found.divergence
            if found.latency_ms is None or self.whole.latency_ms is None or gained <= 0:
                return gained
            # Below this a difference is the machine's mood.
            least = _LEAST_COST * self.whole.latency_ms
            return gained / max(found.latency_ms - self.whole.latency_ms, least)

        return sorted(self.without, key=gain, reverse=True)


def find_sensitivity(
    source: Path,
    ranges: Ranges,
    config: StaticConfig,
    photos_NCHW: Sequence[NDArray[np.float32]],
    folder: Path,
    *,
    cpu_flags: Sequence[str],
    multi_label: bool,
    latency: Callable[[Mapping[str, Path]], Mapping[str, float]] | None = None,
) -> Sensitivity:
    """Quantize each layer alone, and all but each, and compare the answers to some photos.

    Args:
        photos_NCHW: batches.
        latency: milliseconds of some ONNX files by name; None to leave times out.
    """
    layers = layer_names(load_model(source))
    names = [name for name in layers if name not in config.float_layers]
    expected = _answers(session_of(source.read_bytes()), photos_NCHW)

    def made(float_layers: Sequence[str]) -> bytes:
        chosen = replace(config, float_layers=tuple(sorted({*config.float_layers, *float_layers})))
        model = quantize(source, ranges, chosen, folder, cpu_flags=cpu_flags)
        content: bytes = model.SerializeToString(deterministic=True)
        return content

    wanted: dict[str, list[str]] = {"whole": []}
    for name in names:
        wanted |= {f"only {name}": [n for n in names if n != name], f"without {name}": [name]}
    changes = {"none": Change(0.0, 100.0)}
    files = {"none": source}
    with bar("sensitivity of layers", len(wanted)) as advance:
        for number, (key, float_layers) in enumerate(wanted.items()):
            content = made(float_layers)
            found = _answers(session_of(content), photos_NCHW)
            changes[key] = _change(expected, found, multi_label=multi_label)
            if latency is not None:  # on disk: all of them are many times the network
                files[key] = folder / f"variant-{number}.onnx"
                files[key].write_bytes(content)
            advance()
    if latency is not None:
        times = latency(files)
        changes = {key: replace(c, latency_ms=times[key]) for key, c in changes.items()}
    return Sensitivity(
        changes["whole"],
        changes["none"],
        {name: changes[f"only {name}"] for name in names},
        {name: changes[f"without {name}"] for name in names},
    )


def _answers(session: Session, photos_NCHW: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
    return np.concatenate([session(batch) for batch in photos_NCHW]).astype(np.float64)


def _change(
    expected_NK: NDArray[np.float64], found_NK: NDArray[np.float64], *, multi_label: bool
) -> Change:
    same = expected_NK.argmax(1) == found_NK.argmax(1)
    if multi_label:
        p, q = (1 / (1 + np.exp(-x)) for x in (expected_NK, found_NK))
        p, q = np.clip(p, 1e-9, 1 - 1e-9), np.clip(q, 1e-9, 1 - 1e-9)
        lost = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        return Change(float(lost.mean()), float(100 * same.mean()))
    logs = [x - x.max(1, keepdims=True) for x in (expected_NK, found_NK)]
    p, q = (x - np.log(np.exp(x).sum(1, keepdims=True)) for x in logs)
    return Change(float((np.exp(p) * (p - q)).sum(1).mean()), float(100 * same.mean()))


def key_of(*facts: Any) -> str:
    """Under which a sensitivity is kept."""
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:32]


def load_sensitivity(path: Path, key: str) -> Sensitivity | None:
    """What was kept under a key, or None."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["key"] != key:
            return None
        tables = ({k: Change(**v) for k, v in values[part].items()} for part in ("only", "without"))
        return Sensitivity(Change(**values["whole"]), Change(**values["none"]), *tables)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def store_sensitivity(path: Path, key: str, found: Sensitivity) -> None:
    """Keep it, and a table for people beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"key": key, **asdict(found)}, indent=1), encoding="utf-8")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    parts = ("divergence", "agreement", "latency_ms")
    writer.writerow(["layer", *(f"{way}_{p}" for way in ("only_it", "all_but_it") for p in parts)])
    for name in found.worst_first():
        rows = (found.only[name], found.without[name])
        writer.writerow([name, *(getattr(row, part) for row in rows for part in parts)])
    path.with_suffix(".csv").write_text(text.getvalue(), encoding="utf-8")


def draw_sensitivity(path: Path, found: Sensitivity, *, most: int = 30) -> None:
    """A bar for each of the worst layers: what it costs alone, what is gained without it, time."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    names = found.worst_first()[:most]
    timed = found.whole.latency_ms is not None
    figure, axes = plt.subplots(
        1, 3 if timed else 2, figsize=(13 if timed else 9, 1.2 + 0.24 * len(names)), sharey=True
    )
    rows = np.arange(len(names))[::-1]
    gained = [found.whole.divergence - found.without[name].divergence for name in names]
    columns = [
        ("only it in INT8:\ndivergence (nats)", [found.only[n].divergence for n in names]),
        ("only it in float:\ndivergence gained (nats)", gained),
    ]
    if timed:
        base = found.whole.latency_ms or 0.0
        slower = [(found.without[n].latency_ms or 0.0) - base for n in names]
        columns.append(("only it in float:\nmore time (ms)", slower))
    for axis, (title, values) in zip(axes, columns, strict=True):
        axis.barh(rows, values, color="#3b6ea5")
        axis.set_title(title, fontsize=9)
        axis.axvline(0, color="black", linewidth=0.6)
        axis.tick_params(labelsize=7)
    axes[0].set_yticks(rows, names)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)
