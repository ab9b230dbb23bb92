"""A training in a process of its own, the only one of the service in which torch is loaded.

`python -m pocketlens.service._train_process SPEC`. SPEC is a JSON file, see `training.Spec`. On
stdout it writes one JSON object a line: progress, and at the end `{"result": …}` or
`{"failed": {"code", "reason"}}`. It lives no longer than whoever holds the other end of its stdin.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Final

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.comparison import Comparison
from pocketlens.core.errors import DataError, MissingExtraError, UserError
from pocketlens.service.storage import is_out_of_room
from pocketlens.service.training import Spec
from pocketlens.training.config import TrainConfig
from pocketlens.workflows._gate_words import unfit
from pocketlens.workflows.data import Hashed
from pocketlens.workflows.succeed import CURRENT, NEW, Succession, succeed

#: Added to the niceness, so that answers to users don't wait for a training on the same machine.
_NICE: Final = 5


class ClassesMissingError(DataError):
    """The data lacks classes of the current model, or is of the other task."""


def main(spec_file: str) -> int:
    """Run what the file says; 0 also where the user's data or settings were at fault."""
    out = _own_stdout()
    _die_with_parent()
    if hasattr(os, "nice"):
        os.nice(_NICE)
    spec = Spec(**json.loads(Path(spec_file).read_text(encoding="utf-8")))

    def tell(**line: Any) -> None:
        out.write(json.dumps(line, allow_nan=False) + "\n")
        out.flush()

    try:
        tell(result=_work(spec, Path(spec_file).parent, tell))
    except Exception as error:
        if not (failed := _told(error)):
            raise
        code, reason = failed
        tell(failed={"code": code, "reason": reason})
    return 0


def _told(error: Exception) -> tuple[str, str] | None:
    """What a client is told of an error; None: it is a fault of ours, for the log."""
    if is_out_of_room(error):  # first: others are raised from it, with paths for an operator
        return "storage_full", "the worker's disk has no room for the training; make some"
    codes: tuple[tuple[type[UserError], str], ...] = (
        (MissingExtraError, "training_unavailable"),
        (ClassesMissingError, "classes_missing"),
        (DataError, "data_not_ready"),
        (UserError, "training_refused"),
    )
    code = next((code for kind, code in codes if isinstance(error, kind)), None)
    return None if code is None else (code, str(error))


def _own_stdout() -> IO[str]:
    """What is printed by anybody goes to stderr; the lines have stdout for themselves."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _die_with_parent() -> None:
    """When the worker is gone its end of stdin closes; then this process and its children end."""

    def wait() -> None:
        while os.read(0, 1024):
            pass
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, daemon=True).start()


def _work(spec: Spec, place: Path, tell: Any) -> dict[str, Any]:
    from pocketlens.service.datasets import read_materialised

    current = read_bundle(spec.current)
    hashed = _spelt_as(read_materialised(Path(spec.data)), current.manifest.classes)
    hashed = _with_info(hashed, current)
    if why := unfit(current, hashed.dataset.task, hashed.dataset.classes):
        raise ClassesMissingError(
            f"a model of these photos could not take the current one's place: {why.text}"
        )
    model = _train(spec, place, hashed, current, tell)
    comparison = None
    if spec.shrink:
        tell(progress={"step": "shrinking"})
        best, comparison = _shrink(spec, place, hashed, model)
    else:
        best = _in_runtime_of(current, model, place / "exported")
    tell(progress={"step": "comparing"})
    found = succeed(
        current, best, hashed, max_drop=spec.max_drop, max_latency_ms=spec.max_latency_ms,
        threads=spec.threads,
    )  # fmt: skip
    table = _table(comparison, found, spec.name)
    if table is not None:
        (place / "compare.json").write_text(table.to_json(), encoding="utf-8")
    return {
        "bundle": str(best.path),
        "comparison": None if table is None else str(place / "compare.json"),
        **found.to_dict(),
    }


def _spelt_as(hashed: Hashed, classes: Sequence[str]) -> Hashed:
    """Labels in the current model's spelling where it is the same text in another Unicode form.

    Stored labels are composed; a model that was trained from a Mac's folders may have its names
    decomposed, and would miss all of them.
    """
    spelt: dict[str, str] = {}
    for name in classes:
        spelt.setdefault(unicodedata.normalize("NFC", name), name)
    known, data = set(classes), hashed.dataset

    def told(name: str) -> str:
        return name if name in known else spelt.get(unicodedata.normalize("NFC", name), name)

    if all(told(name) == name for name in data.classes):
        return hashed
    samples = [replace(s, labels=tuple(dict.fromkeys(map(told, s.labels)))) for s in data.samples]
    info = {told(name): values for name, values in data.class_info.items()}
    names = tuple(sorted(set(map(told, data.classes))))
    return replace(hashed, dataset=replace(data, classes=names, samples=samples, class_info=info))


def _with_info(hashed: Hashed, current: Bundle) -> Hashed:
    """What the current model knows of its classes goes on, unless the data knows better."""
    known = {c: dict(info) for c, info in current.manifest.class_info.items()}
    fresh = {c: dict(info) for c, info in hashed.dataset.class_info.items() if info}
    return replace(hashed, dataset=replace(hashed.dataset, class_info=known | fresh))


def _train(spec: Spec, place: Path, hashed: Hashed, current: Bundle, tell: Any) -> Bundle:
    from pocketlens.workflows.train import train

    config = TrainConfig(**{**spec.config, "track": ()})
    began = time.monotonic()
    told = 0

    def on_epoch(row: Mapping[str, float]) -> None:
        nonlocal told
        told += 1
        epoch = int(row["epoch"])
        left = (time.monotonic() - began) / told * (config.epochs - epoch)
        score = next((v for k, v in row.items() if k == f"val_{config.metric or ''}"), None)
        if score is None:
            score = row.get("val_macro_f1", row.get("val_map"))
        tell(progress=_progress(config.epochs, epoch, score, left))

    tell(progress=_progress(config.epochs, 0, None, None))
    return train(
        hashed, out=place / "model", config=config, keep_split=current, resume=True,
        on_epoch=on_epoch, on_trained=lambda: tell(progress={"step": "finishing"}),
        threads=spec.threads,
    )  # fmt: skip


def _progress(
    epochs: int, epoch: int, score: float | None, seconds_left: float | None
) -> dict[str, Any]:
    return {
        "step": "training",
        "epoch": epoch,
        "epochs": epochs,
        "score": None if score is None or score != score else round(score, 2),
        "seconds_left": None if seconds_left is None else round(seconds_left, 1),
    }


def _shrink(spec: Spec, place: Path, hashed: Hashed, model: Bundle) -> tuple[Bundle, Comparison]:
    from pocketlens.workflows.shrink import ShrinkConfig, shrink

    config = ShrinkConfig(
        max_drop=spec.max_drop,
        max_latency_ms=spec.max_latency_ms,
        effort="quick",
        budget=spec.shrink_minutes,
    )
    out = place / "shrunk"
    table = shrink(model, hashed, out=out, config=config, resume=out.exists(), threads=spec.threads)
    assert table.best is not None
    return read_bundle(table.best), table.comparison


def _in_runtime_of(current: Bundle, model: Bundle, out: Path) -> Bundle:
    """The new model as the current one is run; as ONNX where nothing is exported to that."""
    from pocketlens import plugins
    from pocketlens.workflows.convert import export

    runtime = current.manifest.runtime
    if runtime == model.manifest.runtime:
        return model
    if not hasattr(plugins.load("runtimes", runtime), "export"):
        runtime = "onnx"
    shutil.rmtree(out, ignore_errors=True)
    return export(model, runtime=runtime, out=out)


def _table(shrunk: Comparison | None, found: Succession, name: str) -> Comparison | None:
    """The table of the search with the current model's row; without a search, the two rows."""
    made = found.comparison
    if made is not None:
        made = replace(made, data={**made.data, "name": name})
    if shrunk is not None and not found.offered:
        shrunk = _without_best(shrunk, found)
    if shrunk is None or made is None:
        table = shrunk or made
        return None if table is None else replace(table, data={**table.data, "name": name})
    row = next(row for row in made.rows if row.name == CURRENT)
    note = (
        f"the row {CURRENT!r} is the model that answers now; against it, on the {found.num_test} "
        f"photos that test both, the best of this table was judged: {found.reason}"
    )
    new = next(row for row in made.rows if row.name == NEW)
    # Its drop is counted from the best of the search, on the photos that neither learnt from.
    there = replace(
        row,
        verdict="ok" if found.offered else "best",
        reason="answers now",
        drop=_negative(new.drop),
        drop_low=_negative(new.drop_high),
        drop_high=_negative(new.drop_low),
        drop_unseen=None,
        intervals={},
    )
    return replace(
        shrunk,
        rows=(*shrunk.rows, there),
        data={**shrunk.data, "name": name},
        notes=(*shrunk.notes, *made.notes[:-1], note),
    )


def _without_best(shrunk: Comparison, found: Succession) -> Comparison:
    """The search's table where the gate rejected the model that was the best of it."""
    new = None
    if found.comparison is not None:
        new = next(row for row in found.comparison.rows if row.name == NEW)
    rows = [
        replace(
            row,
            # Without a comparison it could not be judged.
            verdict="failed" if new is None else new.verdict,
            reason=f"the best of the search, but rejected against the model that answers now: "
            f"{found.reason}",
        )
        if row.verdict == "best"
        else row
        for row in shrunk.rows
    ]
    return replace(shrunk, rows=tuple(rows))


def _negative(points: float | None) -> float | None:
    return None if points is None else -points


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
