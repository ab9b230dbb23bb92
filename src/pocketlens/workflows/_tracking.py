"""Trackers of a training run: begun, fed and closed, and never the reason that it fails."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pocketlens import plugins
from pocketlens.core.directory import write_text
from pocketlens.extras import require
from pocketlens.progress import warn
from pocketlens.training.config import TrainConfig, settings_of

#: In the run's directory: tracker -> the id of its run and the last epoch that it was told.
STATE: Final = "tracking.json"

EpochCall = Callable[[Mapping[str, float]], None]


def check_trackers(config: TrainConfig) -> None:
    """Whether all trackers are there, before any photo is read.

    Raises:
        UserError: there is none of this name, or its extra is missing.
    """
    for name in config.track:
        plugin = plugins.load("loggers", name)
        for module in plugin.NEEDS:
            require(module, extra=plugin.EXTRA)


@contextmanager
def tracking(
    config: TrainConfig, run_dir: Path, name: str, *, resume: bool, then: EpochCall | None = None
) -> Iterator[EpochCall]:
    """A call that tells all trackers of an epoch, and then `then`, whose exceptions get out.

    A resumed run is the run it was: an epoch that a tracker knows is not told again, and one that
    it missed (the server was gone, or it was added later) is told from `history.csv`. A tracker
    that fails is warned of once and left alone.
    """
    state = _read_state(run_dir / STATE) if resume else {}
    missed = _read_history(run_dir / "history.csv") if resume else []
    open_now: dict[str, Any] = {}
    for tracker in config.track:
        known = state.get(tracker, {})
        try:
            plugin = plugins.load("loggers", tracker)
            open_now[tracker] = plugin.open(
                run_dir, name, settings_of(config), known.get("run_id"), plugin.Config()
            )
            state[tracker] = {"epoch": 0, **known, "run_id": open_now[tracker].run_id}
        except Exception as error:  # each has its own way to fail
            _warn(tracker, error)
    if config.track:
        _write_state(run_dir / STATE, state)

    def tell(row: Mapping[str, float]) -> None:
        for tracker in list(open_now):
            if row["epoch"] <= state[tracker]["epoch"]:
                continue
            try:
                open_now[tracker].log(row)
            except Exception as error:
                _warn(tracker, error)
                _close(tracker, open_now.pop(tracker), finished=False, quiet=True)
            else:
                state[tracker]["epoch"] = int(row["epoch"])
                _write_state(run_dir / STATE, state)

    def told(row: Mapping[str, float]) -> None:
        tell(row)
        if then is not None:
            then(row)

    finished = False
    try:
        for row in missed:
            tell(row)
        yield told
        finished = True
    finally:
        for tracker, opened in open_now.items():
            _close(tracker, opened, finished=finished)


def _close(tracker: str, opened: Any, *, finished: bool, quiet: bool = False) -> None:
    try:
        opened.close(finished)
    except Exception as error:
        if not quiet:
            _warn(tracker, error)


def _warn(tracker: str, error: Exception) -> None:
    text = " ".join(str(error).split())[:300] or type(error).__name__
    warn(f"{tracker} doesn't track this run any more, training goes on; --resume tells it: {text}")


def _write_state(path: Path, state: Mapping[str, Any]) -> None:
    try:
        write_text(path, json.dumps(state))
    except OSError as error:  # then a resumed run may tell an epoch twice
        warn(f"{path}: {error.strerror}")


def _read_state(path: Path) -> dict[str, dict[str, Any]]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    except (OSError, ValueError, TypeError):
        return []
