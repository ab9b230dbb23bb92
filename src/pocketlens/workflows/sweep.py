"""`sweep`: a search over settings, judged on validation photos alone."""

from __future__ import annotations

import itertools
import json
import os
import platform
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pocketlens.core import metrics
from pocketlens.core.bundle import SPLIT, Bundle, read_bundle, write_bundle
from pocketlens.core.directory import refuse_existing, remove, write_text
from pocketlens.core.errors import UserError
from pocketlens.progress import say, warn
from pocketlens.training.config import TrainConfig
from pocketlens.workflows import _study
from pocketlens.workflows._about import interval_of_test
from pocketlens.workflows._network import check_network
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._sweep_space import Space, read_space
from pocketlens.workflows._sweep_table import Sweep, TrialRow, shown, sort, write_tables
from pocketlens.workflows._teacher import check_teacher
from pocketlens.workflows._tracking import check_trackers
from pocketlens.workflows._trial import run_trial
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows.data import Hashed, identities, read_dataset
from pocketlens.workflows.evaluate import metric_of, run_bundle
from pocketlens.workflows.train import data_hash

if TYPE_CHECKING:
    import optuna


def sweep(
    space: str | os.PathLike[str],
    *,
    out: str | os.PathLike[str],
    trials: int | None = None,
    threads: int | None = None,
    keep_all: bool = False,
    resume: bool = False,
    overwrite: bool = False,
) -> Sweep:
    """Search for the settings that score best on validation photos.

    All trials have the same split. Leaves `OUT/study.db`, `OUT/trials.csv`, `OUT/sweep.md` and
    `OUT/best/`, the best trial's bundle, which alone is scored on the test photos, once.

    Args:
        space: a YAML file; docs/training.md names its keys.
        trials: instead of the file's number.
        keep_all: keep every trial's bundle, not the best one's alone.
        resume: go on with the trials of a run that was interrupted, or add some.

    Raises:
        UserError: the file, the data or the database can't be used, or all trials failed.
    """
    path, target = Path(space), Path(out)
    plan = read_space(path)
    if trials is not None:
        plan = replace(plan, trials=trials)
    if plan.trials < 1:
        raise UserError("--trials must be at least 1")
    if not resume:
        refuse_existing(target, overwrite=overwrite, inputs=[path, plan.data])
    _study.check_storage(plan, path)
    configs = _combinations(plan)
    check_trackers(plan.base)
    for config in configs:
        check_network(config)
    dataset = read_dataset(plan.data, **plan.reading)
    chosen = plan.base.metric or metrics.DEFAULT_METRIC[dataset.task]
    if chosen != "loss":
        metrics.check_metric(chosen, dataset.task)
    for config in configs:
        check_teacher(config, dataset)
    plan = replace(plan, base=replace(plan.base, metric=chosen))
    with workplace(target, resume=resume, overwrite=overwrite), _study.reachable(plan):
        worker = _worker(target)
        study = _study.open_study(plan, target)
        _study.agree(study, "search", plan.describe())
        hashed = identities(dataset)
        _study.agree(study, "photos", {"data": data_hash(hashed.dataset, hashed.identities)})
        _search(study, plan, hashed, target, worker, threads, keep_all=keep_all)
        return _finish(study, plan, hashed, target, worker, threads, keep_all=keep_all)


def _combinations(plan: Space) -> list[TrainConfig]:
    """Each network with each start, size and teacher that may be tried."""
    names = [name for name in ("model", "weights", "image_size", "teacher") if name in plan.tried]
    values: list[tuple[Any, ...]] = []
    for name in names:
        value = plan.tried[name]
        values.append(value if isinstance(value, tuple) else (int(value.low), int(value.high)))
    return [plan.config(dict(zip(names, v, strict=True))) for v in itertools.product(*values)]


def _worker(target: Path) -> str:
    """The name of this output among those that add to a study."""
    file = target / "sweep.json"
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["worker"])
    except (OSError, ValueError, KeyError, TypeError):
        name = uuid.uuid4().hex
        write_text(file, json.dumps({"worker": name}))
        return name


def _search(
    study: optuna.Study,
    plan: Space,
    hashed: Hashed,
    target: Path,
    worker: str,
    threads: int | None,
    *,
    keep_all: bool,
) -> None:
    began = time.monotonic()
    waiting = _study.unfinished(study, plan, worker)
    while True:
        if waiting:
            trial = waiting.pop(0)
        elif len(_study.counted(study)) >= plan.trials:
            return
        else:
            trial = _study.ask(study, plan, worker, platform.node())
            before = [t for t in _study.counted(study) if t.number < trial.number]
            if len(before) >= plan.trials:  # another machine was faster
                _study.abandon(study, trial)
                return
        values = ", ".join(f"{k} {shown(v)}" for k, v in trial.params.items())
        say(f"trial {trial.number} ({plan.trials} in all): {values}")
        run_trial(study, trial, plan, hashed, target, threads)
        if not keep_all:
            _drop_weights(study, target, worker)
        _write(study, plan, target)
        if plan.minutes is not None and time.monotonic() - began >= 60 * plan.minutes:
            say(f"{plan.minutes:g} minutes are over; no further trial is begun")
            return


def _drop_weights(study: optuna.Study, target: Path, worker: str) -> None:
    """Remove the weights of all finished trials of this output but its best."""
    mine = [t for t in study.get_trials(deepcopy=False) if t.user_attrs.get("worker") == worker]
    best = next((t for t in _study.ranked(study) if t.user_attrs.get("worker") == worker), None)
    for trial in mine:
        if trial.state.is_finished() and (best is None or trial.number != best.number):
            _remove_weights(target / "trials" / f"{trial.number:04d}")


def _remove_weights(folder: Path) -> None:
    if folder.exists():
        remove(folder)
    for pattern in ("*.safetensors", "*.npz"):
        for file in folder.with_name(f"{folder.name}.run").glob(pattern):
            file.unlink()


def _finish(
    study: optuna.Study,
    plan: Space,
    hashed: Hashed,
    target: Path,
    worker: str,
    threads: int | None,
    *,
    keep_all: bool,
) -> Sweep:
    found = _write(study, plan, target)
    ranked = _study.ranked(study)
    if not ranked:
        reasons = [row.reason for row in found.rows if row.reason]
        raise UserError(
            f"no trial came to its end; the first failed: {reasons[0]}"
            if reasons
            else "no trial came to its end; give more --trials or minutes"
        )
    best = ranked[0]
    if best.user_attrs.get("worker") != worker:
        warn(
            f"the best trial, {best.number}, was trained on {best.user_attrs.get('host')}; "
            "its bundle and its test score are there"
        )
        return found
    bundle = _ship(target, best.number, hashed, threads)
    if not keep_all:
        _remove_weights(target / "trials" / f"{best.number:04d}")
    return _write(study, plan, target, bundle)


def _ship(target: Path, number: int, hashed: Hashed, threads: int | None) -> Bundle:
    """`best/`: the trial's bundle with its test score, which is found once."""
    place = target / "best"
    if (place / "manifest.json").is_file():
        there = read_bundle(place)
        if there.manifest.metrics.get("trial") == number:
            return there
    bundle = read_bundle(target / "trials" / f"{number:04d}")
    scores = {**bundle.manifest.metrics, "trial": number, "test": {}}
    if bundle.split.test:
        outcome = run_bundle(bundle, examples_of(bundle, hashed, "test"), threads=threads)
        scores["test"] = metrics.summary(outcome.scored)
        scores["test_interval"] = interval_of_test(outcome, metric_of(bundle))
    files = {name: bundle.file(name) for name in bundle.manifest.files if name != SPLIT}
    return write_bundle(
        place,
        replace(bundle.manifest, metrics=scores),
        files,
        split=bundle.split,
        overwrite=True,
    )


def _write(study: optuna.Study, plan: Space, target: Path, best: Bundle | None = None) -> Sweep:
    """The tables as they are now."""
    lower = study.direction.name == "MINIMIZE"
    ranked = _study.ranked(study)
    found = Sweep(
        metric=str(plan.base.metric),
        rows=sort([_row(trial, lower=lower) for trial in _study.counted(study)], lower=lower),
        best=ranked[0].number if ranked else None,
        score=ranked[0].value if ranked else None,
        test={} if best is None else best.manifest.metrics["test"],
        path=None if best is None else best.path,
        importances=_study.importances(study),
    )
    write_tables(target, found)
    return found


def _row(trial: optuna.trial.FrozenTrial, *, lower: bool) -> TrialRow:
    reported = list(trial.intermediate_values.values())
    so_far = (min if lower else max)(reported) if reported else None
    names = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
    return TrialRow(
        number=trial.number,
        settings=trial.params,
        score=trial.value if trial.state.name == "COMPLETE" else so_far,
        epochs=len(reported),
        state=names.get(trial.state.name, "running"),
        reason=str(trial.user_attrs.get("reason", "")),
        minutes=trial.user_attrs.get("seconds", 0.0) / 60,
        host=str(trial.user_attrs.get("host", "")),
    )
