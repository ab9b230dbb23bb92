"""How much must go for a network to be so much faster: pruned, exported and timed on trial."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pocketlens import plugins
from pocketlens.compression._step import Context
from pocketlens.core.bundle import Bundle, write_bundle
from pocketlens.core.directory import write_text
from pocketlens.core.errors import UserError
from pocketlens.progress import say

if TYPE_CHECKING:
    import torch

#: Each costs an export and some seconds of timing.
_TRIALS: Final = 5
#: Largest share of the operations that is tried.
_MOST: Final = 0.95


def operations_for_latency(
    bundle: Bundle,
    ratio: float,
    prune: Callable[[float], tuple[torch.nn.Module, Mapping[str, Any]]],
    context: Context,
    *,
    settings: str,
) -> float:
    """Share of the operations to remove, so that one photo takes at most `1 - ratio` of the time.

    What was found is kept in the working directory: a time is never measured alike twice, and a
    run that goes on must go on with the same network.

    Args:
        prune: a share of the operations -> the network without it, and its family's options.
        settings: all that decides what `prune` removes.

    Raises:
        UserError: no share makes it so fast.
    """
    place = context.work / "latency"
    record = place / "found.json"
    key = repr((bundle.id, settings, context.cpu_flags))
    if (known := _known(record, key)) is not None:
        return known
    place.mkdir(parents=True, exist_ok=True)
    export = plugins.load("runtimes", "onnx")
    parent = place / "parent"
    export.export(bundle, parent, export.Config(), overwrite=True)
    low, high, found = 0.0, 1.0, 0.0
    share, fastest = ratio, 1.0
    for trial in range(_TRIALS):
        try:
            module, options = prune(share)
        except UserError as error:
            if trial == 0:
                raise
            say(f"{100 * share:.0f} % of the operations: {error}")
            high = share
            share = (low + high) / 2
            continue
        written = _written(bundle, module, options, place / f"trial-{trial}", context)
        timed = place / f"timed-{trial}"
        export.export(written, timed, export.Config(), overwrite=True)
        times = context.latency({"parent": parent, "pruned": timed})
        took = times["pruned"] / times["parent"]
        say(
            f"without {100 * share:.0f} % of the operations: {times['pruned']:.2f} ms, "
            f"{100 * took:.0f} % of {times['parent']:.2f} ms"
        )
        fastest = min(fastest, took)
        if took <= 1 - ratio:
            high = found = share
        else:
            low = share
        share = min(_MOST, (low + high) / 2)
        if high - low < 0.03:
            break
    if not found:
        raise UserError(
            f"with pruning the network still takes {100 * fastest:.0f} % of its time here; lower "
            "--ratio, or raise --max-layer-ratio"
        )
    write_text(record, json.dumps({"key": key, "operations": found}))
    return found


def _known(record: Path, key: str) -> float | None:
    """What an interrupted run had found, if it was for the same."""
    try:
        values = json.loads(record.read_text(encoding="utf-8"))
        return float(values["operations"]) if values["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _written(
    bundle: Bundle,
    module: torch.nn.Module,
    options: Mapping[str, Any],
    place: Any,
    context: Context,
) -> Bundle:
    from safetensors.torch import save

    manifest = replace(bundle.manifest, model={**bundle.manifest.model, "config": dict(options)})
    state = {k: v.detach().contiguous() for k, v in module.state_dict().items()}
    return write_bundle(place, manifest, {"model.safetensors": save(state)}, overwrite=True)
