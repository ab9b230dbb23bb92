"""A bundle's model card: `README.md`, for whoever finds the directory.

A pure function of the bundle, so that every verb's bundle has one and none is forgotten. It is
not among the manifest's files: whoever ships a model fills in what no program knows, and that must
not look like damage. Names that people chose stand as code, in which Markdown reads neither
markup nor links.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from pocketlens.core.card_words import (
    METRICS,
    how_to_run,
    limits,
    mapping,
    method_words,
    preprocessing,
    trained_on,
)
from pocketlens.core.names import RUNTIMES
from pocketlens.core.text import count_of
from pocketlens.core.text import markdown_code as code

if TYPE_CHECKING:
    from pocketlens.core.bundle import Bundle
    from pocketlens.core.comparison import Comparison, Row

CARD: Final = "README.md"
#: Between these two stands what a comparison measured; the rest is left as it was edited.
_BEGIN: Final = "<!-- measured by pocketlens -->"
_END: Final = "<!-- end of what was measured -->"
#: Classes named in the card.
_SHOWN: Final = 24


def render(bundle: Bundle) -> str:
    """The text of `README.md`, with a place for what a comparison measures."""
    manifest = bundle.manifest
    several = manifest.task == "multi_label"
    number = f"{len(manifest.classes):,}"
    does = f"any number of {number} labels" if several else f"one of {number} classes"
    sections = [
        _front(bundle),
        f"# {code(_title(bundle))}",
        f"An image classifier that gives a photo {does}. The directory is a pocketlens bundle: the "
        "network, the preprocessing that belongs to it, its classes and where it comes from.",
        *_section("Classes", _classes(bundle)),
        *_section("To be filled in", _unknown()),
        *_section("The network", _network(bundle)),
        *_section("How it was made", _steps(bundle)),
        *_section("Scores", _scores(bundle)),
        *_section("What it is given", preprocessing(manifest)),
        *_section("How to run it", how_to_run(manifest)),
        *_section("Limits", limits(bundle)),
    ]
    return "\n\n".join(sections) + "\n"


def with_measured(card: str, comparison: Comparison, row: Row) -> str:
    """A card with what was measured of a row, in place of what was measured before."""
    block = f"{_BEGIN}\n### Measured by `shrink`\n\n{_measured(comparison, row)}\n{_END}"
    pattern = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)
    if pattern.search(card):
        return pattern.sub(lambda _: block, card, count=1)
    return f"{card.rstrip()}\n\n{block}\n"  # somebody wrote a card of their own


def _section(title: str, text: str) -> tuple[str, ...]:
    return (f"## {title}", text) if text else ()


def _front(bundle: Bundle) -> str:
    """The lines that Hugging Face's hub reads; no licence, as none is known."""
    manifest = bundle.manifest
    tags = ["image-classification", manifest.runtime]
    tags += ["multi-label"] if manifest.task == "multi_label" else []
    tags += [] if manifest.precision == "float32" else [manifest.precision]
    lines = ["library_name: pocketlens", "pipeline_tag: image-classification", "tags:"]
    # In quotes: a runtime of somebody's plugin is a name too.
    lines += [f'- "{re.sub("[^a-z0-9-]", "-", tag.lower())}"' for tag in tags]
    return "\n".join(["---", *lines, "---"])


def _title(bundle: Bundle) -> str:
    name = str(bundle.manifest.model.get("name") or "model")
    made_of = trained_on(bundle).get("name")
    return f"{name}, trained on {made_of}" if made_of else name


def _classes(bundle: Bundle) -> str:
    manifest = bundle.manifest
    called = {
        name: str(info["name"])
        for name, info in manifest.class_info.items()
        if mapping(info).get("name")
    }
    shown = manifest.classes[:_SHOWN]
    named = any(name in called for name in shown)
    rows = [
        [
            code(name, cell=True),
            *([code(called.get(name, ""), cell=True)] if named else []),
        ]
        for name in shown
    ]
    text = table(["class", *(["called"] if named else [])], rows)
    left = len(manifest.classes) - len(shown)
    return text + (f"\n\n{left:,} more stand in `manifest.json`." if left > 0 else "")


def _unknown() -> str:
    return (
        "pocketlens can't know these; write them here before you pass the model on (changing this "
        "file changes nothing about the bundle):\n\n"
        "- **Purpose**: what its answers are used for, and by whom they are checked: *not stated*\n"
        "- **Photos**: who took them, with what, where and when: *not stated*\n"
        "- **Licence** of the photos, of the weights it started from, and of this model: *not "
        "stated*"
    )


def _network(bundle: Bundle) -> str:
    manifest = bundle.manifest
    model = manifest.model
    runtime = RUNTIMES.get(manifest.runtime) or code(manifest.runtime, cell=True)
    backend = f", {code(manifest.backend, cell=True)}" if manifest.backend else ""
    files = [name for name in manifest.files if name.startswith("model.")]
    size = f"{bundle.size_bytes / 1e6:.3g} MB"
    name = code(str(model.get("name") or "?"), cell=True)
    family = f" ({code(str(model['family']), cell=True)})" if model.get("family") else ""
    rows = [
        ["architecture", name + family],
        ["runs in", runtime + backend],
        ["precision", code(manifest.precision, cell=True)],
        ["file", f"{', '.join(code(name, cell=True) for name in files)}, {size}"],
    ]
    for key, title in (("params", "parameters"), ("macs", "multiply-adds a photo")):
        if isinstance(model.get(key), int):
            rows.append([title, f"{model[key]:,}"])
    rows.append(["id", f"`{bundle.id}`"])
    return table(["", ""], rows)


def _steps(bundle: Bundle) -> str:
    lineage = bundle.manifest.lineage
    steps = [(p.get("method", ""), mapping(p.get("config")), p.get("id")) for p in lineage.parents]
    steps.append((lineage.method, lineage.config, None))
    lines = []
    for number, (method, config, id) in enumerate(steps, 1):
        made = f" (bundle `{str(id)[:8]}`)" if id else ""
        lines.append(f"{number}. {method_words(str(method), config)}{made}")
    lines.append("")  # else the last step would go on
    facts = trained_on(bundle)
    parts = []
    split = bundle.split
    for name, part in (("to train on", "train"), ("to validate", "val"), ("to test", "test")):
        if number := len(getattr(split, part)):
            parts.append(f"{number:,} {name}")
    if parts:
        source = f" of {code(str(facts['name']))}" if facts.get("name") else ""
        lines.append(f"Photos (or boxes of photos){source}: {', '.join(parts)}.")
        lines[-1] += " Which these are stands in `split.json`, by the hashes of their bytes."
    if lineage.data_hash:
        lines.append(f"Hash of the photos and labels: `{code(str(lineage.data_hash)).strip('`')}`.")
    if lineage.versions:
        made_with = ", ".join(f"{k} {v}" for k, v in lineage.versions.items())
        lines.append(f"Made with {code(made_with)}.")
    return "\n".join(lines).rstrip()


def _scores(bundle: Bundle) -> str:
    metrics = bundle.manifest.metrics
    parts = [part for part in ("val", "test") if mapping(metrics.get(part))]
    lineage = bundle.manifest.lineage
    unknown = (
        "This form of the network was not scored when it was made: `pocketlens evaluate` does it, "
        "and `pocketlens compare` against the one it comes from."
    )
    place = f"{_BEGIN}\n{'' if parts else unknown + chr(10)}{_END}"
    if not parts:
        return place
    judged = str(metrics.get("metric", ""))
    names = [n for n in METRICS if any(n in metrics[part] for part in parts)]
    names.sort(key=lambda name: name != judged)
    rows = [[METRICS[name], *(_score(metrics, part, name) for part in parts)] for name in names]
    text = table(["", *({"val": "validation", "test": "test"}[p] for p in parts)], rows)
    words = []
    if mapping(metrics.get("test_interval")):
        words.append(
            "In brackets the 95 % interval over other draws of as many test photos (bootstrap)."
        )
    if "val" in parts and lineage.method in ("train", "strip"):
        words.append("The epoch was chosen by the validation photos, so their score flatters.")
    if lineage.parents:
        words.append("Measured on the bundle it was made from.")
    return "\n\n".join([text, *([" ".join(words)] if words else []), place])


def _score(metrics: Mapping[str, Any], part: str, name: str) -> str:
    value = metrics[part].get(name)
    if not isinstance(value, int | float):
        return ""
    if name == "loss":
        return f"{value:.3f}"
    ends = mapping(metrics.get(f"{part}_interval")).get(name)
    if not (isinstance(ends, list | tuple) and all(isinstance(v, int | float) for v in ends)):
        ends = ()
    return f"{value:.2f} %" + (f" [{ends[0]:.2f}, {ends[1]:.2f}]" if len(ends) == 2 else "")


def _measured(comparison: Comparison, row: Row) -> str:
    data, machine = comparison.data, comparison.machine
    metric = METRICS.get(row.metric, row.metric)
    rows = list(_measured_rows(row, metric))
    where = code(str(machine.get("cpu", "?")))
    if machine.get("threads"):
        where += f", {count_of(machine['threads'], 'thread')}"
    num = data.get("num_test")
    photos = f" on {num:,} test photos of {code(str(data.get('name', '?')))}" if num else ""
    text = f"Row {code(row.name)} of `compare.json`{photos}; times of one photo on {where}.\n\n"
    text += table(["", ""], rows)
    if row.name != comparison.reference and row.drop_high is not None:
        limit = comparison.limits.get("max_drop")
        asked = f" At most {limit:g} points were allowed." if limit is not None else ""
        text += (
            f"\n\nLost is against the float model {code(comparison.reference)} on the same "
            f"photos, with a 95 % interval (paired bootstrap).{asked} "
        )
        text += (
            "That it keeps to this is proven."
            if row.proven
            else "That it keeps to this is **not proven**: there may be too few test photos."
        )
    if row.noisy:
        text += "\n\nThe machine was too noisy to rank by these times."
    return text


def _measured_rows(row: Row, metric: str) -> Iterator[list[str]]:
    if row.score is not None:
        yield [metric, f"{row.score:.2f} %"]
    if row.drop is not None:
        low, high = row.drop_low, row.drop_high
        ends = f" [{low:.2f}, {high:.2f}]" if None not in (low, high) and low != high else ""
        yield ["lost", f"{round(row.drop, 2) + 0.0:.2f} points{ends}"]
    if row.latency_ms is not None:
        slow = f", 95 % within {row.latency_ms_p95:.3g}" if row.latency_ms_p95 else ""
        yield ["time of the network", f"{row.latency_ms:.3g} ms (median{slow})"]
    if row.e2e_latency_ms is not None:
        yield ["time from the file", f"{row.e2e_latency_ms:.3g} ms"]
    if row.speedup_float is not None:
        yield ["against the fastest float form", f"{row.speedup_float:.3g} times as fast"]
    if row.memory_bytes is not None:
        yield ["memory of its process", f"{row.memory_bytes / 1e6:.0f} MB"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
