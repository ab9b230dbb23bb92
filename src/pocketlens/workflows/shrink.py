"""`shrink`: try chains of compression steps on a float bundle, keep what is proven."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.directory import NO_ROOM, refuse_existing
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.core.gate import Goal, Limits
from pocketlens.core.metrics import Metric
from pocketlens.core.predictor import available_cores
from pocketlens.progress import say, warn
from pocketlens.workflows._calibrating import CALIBRATION_HASH, calibration_hash, hash_calibration
from pocketlens.workflows._ladder import Candidate, ladder
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._result import RESULT, Table, write_reports
from pocketlens.workflows._table import Scores, Variant, drop_of, score_variant, tabulate
from pocketlens.workflows._thresholds import DATA, hash_of
from pocketlens.workflows._thresholds import RECORD as THRESHOLDS
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows.compress import compress
from pocketlens.workflows.convert import copy_bundle, export
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, data_paths, describe_data
from pocketlens.workflows.evaluate import metric_of
from pocketlens.workflows.open import BundleLike, as_bundle

FLOAT = "float-torch"


@dataclass(frozen=True)
class ShrinkConfig:
    """What the result must keep to, and how hard to try."""

    max_drop: float = 0.5
    """Points of the metric that may be lost."""

    max_size_mb: float | None = None
    """Largest size of the network's files, in megabytes (1,000,000 bytes)."""

    max_latency_ms: float | None = None
    """Longest time for one photo on this machine, network alone."""

    goal: Goal = "latency"
    """What is best among those that pass: the fastest or the smallest."""

    target: Literal["cpu", "phone"] = "cpu"
    """Where it will run."""

    budget: float | None = None
    """Minutes after which nothing new is tried."""

    num_images: int = 256
    """Calibration photos."""

    throughput_batch: int = 16
    """Photos at a time for the throughput."""

    def __post_init__(self) -> None:
        self.limits()  # raises where one is no limit
        for name in ("budget", "num_images", "throughput_batch"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UserError(f"--{name.replace('_', '-')} must be above 0")
        if self.target == "phone":
            raise UserError(
                "--target phone is not there yet; use --target cpu and measure on the phone"
            )

    def limits(self) -> Limits:
        """The gate's part of it."""
        return Limits(self.max_drop, self.max_size_mb, self.max_latency_ms, self.goal)


def shrink(
    bundle: BundleLike,
    data: DataLike | Hashed,
    *,
    out: str | os.PathLike[str],
    config: ShrinkConfig | None = None,
    metric: str | None = None,
    calibration: DataLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    **settings: object,
) -> Table:
    """Try compression steps on a float bundle; `OUT/best` is the one to ship.

    If nothing passes, `best` is the float model in its fastest runtime.

    Args:
        bundle: the float torch bundle.
        data: what it was trained on; its split decides what is scored.
        out: gets `variants/`, `best/`, `compare.json`, `compare.csv` and `report.html`.
        settings: those of `ShrinkConfig` by name.
        calibration: other photos to find ranges on.
        threads: processor threads to measure with; all cores by default.
        resume: keep variants that are there already.

    Raises:
        UserError: the bundle isn't a float torch bundle, or data and bundle don't fit.
    """
    config = replace(config or ShrinkConfig(), **settings)  # type: ignore[arg-type]
    parent = as_bundle(bundle)
    target = Path(out)
    if (parent.manifest.runtime, parent.manifest.precision) != ("torch", "float32"):
        raise UserError(
            f"{parent.path} is made for {parent.manifest.runtime} in {parent.manifest.precision}; "
            "shrink starts from the float torch bundle that training wrote"
        )
    if not resume:
        refuse_existing(
            target,
            overwrite=overwrite,
            inputs=[parent.path, *data_paths(data), *data_paths(calibration)],
        )
    hashed = as_hashed(data)
    with workplace(target, resume=resume, overwrite=overwrite):
        return search(
            parent,
            hashed,
            target,
            config,
            metric=metric,
            calibration=calibration,
            threads=threads,
        )


def plan(config: ShrinkConfig) -> list[Candidate]:
    """What `shrink` would try, in order."""
    return ladder(config.num_images)


def search(
    parent: Bundle,
    hashed: Hashed,
    target: Path,
    config: ShrinkConfig,
    *,
    metric: str | None = None,
    calibration: DataLike | None = None,
    threads: int | None = None,
    further: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
) -> Table:
    """What `shrink` does in a directory that is there.

    Args:
        further, notes: settings and findings of what was done before, kept with the result.
    """
    threads = threads or available_cores()
    chosen = metric_of(parent, metric)
    test, val = (examples_of(parent, hashed, part) for part in ("test", "val"))
    choosing = val if len(val) else None
    # Read once, however many steps calibrate on them.
    pool = None if calibration is None else hash_calibration(calibration)
    scored = frozenset((*test.identities, *val.identities))
    source = _Source(parent, hashed, pool, scored, hash_of(val))
    variants = [Variant(FLOAT, parent, method=parent.manifest.lineage.method)]
    scores = {FLOAT: score_variant(parent, test, choosing, threads, FLOAT)}
    made: dict[str, Bundle] = {}
    passed: set[str] = set()
    deadline = None if config.budget is None else time.monotonic() + config.budget * 60
    for candidate in plan(config):
        if candidate.family and candidate.family in passed:
            continue
        if deadline is not None and time.monotonic() > deadline:
            variants.append(_not_made(candidate, "skipped", "the budget of minutes was spent"))
            continue
        say(f"trying {candidate.name}: {candidate.describe()}")
        variant = _make(candidate, source, target / "variants", made)
        variants.append(variant)
        if variant.bundle is None:
            continue
        made[candidate.name] = variant.bundle
        try:
            found = score_variant(variant.bundle, test, choosing, threads, candidate.name)
        except UserError as error:
            variants[-1] = _not_made(candidate, "failed", str(error))
            continue
        scores[candidate.name] = found
        if _lost(chosen, scores[FLOAT], found) <= config.max_drop:
            passed.add(candidate.family)
    comparison = tabulate(
        variants,
        FLOAT,
        test,
        choosing,
        metric=chosen,
        limits=config.limits(),
        data=describe_data(hashed),
        threads=threads,
        batch=config.throughput_batch,
        known=scores,
        config={**(further or {}), **asdict(config), "metric": chosen, "threads": threads}
        | ({} if pool is None else {"calibration": pool.dataset.root.name}),
        notes=notes,
        home=target,
    )
    best = comparison.best
    if best is None:  # else the gate names the float model where nothing passes
        raise UserError(
            f"no model could be measured on this machine, not even the float one: "
            f"{comparison.row(FLOAT).reason}; mend that and go on with --resume"
        )
    bundle = next(v.bundle for v in variants if v.name == best.name)
    assert bundle is not None
    # A run that is cut off here must not leave an old table beside a new model.
    (target / RESULT).unlink(missing_ok=True)
    copy_bundle(bundle, target / "best", overwrite=True)
    write_reports(target, comparison)
    return Table(comparison, target, target / "best")


@dataclass(frozen=True)
class _Source:
    """What all candidates are made from."""

    parent: Bundle
    data: Hashed
    calibration: Hashed | None
    scored: frozenset[str]
    val: str


def _make(
    candidate: Candidate, source: _Source, folder: Path, made: Mapping[str, Bundle]
) -> Variant:
    """One candidate's bundle, or why there is none."""
    out = folder / candidate.name
    try:
        bundle = _there_already(candidate, source, out)
        if bundle is not None:
            say(f"{candidate.name} is there already")
        elif candidate.method is None:
            bundle = export(source.parent, runtime=candidate.runtime, out=out, overwrite=True)
        else:
            bundle = compress(
                # All ONNX methods start from the same exported file.
                made.get("float-onnx", source.parent),
                method=candidate.method,
                out=out,
                data=source.data,
                calibration=source.calibration,
                overwrite=True,
                scored=source.scored,
                **candidate.options,
            )
    except MissingExtraError as error:
        return _not_made(candidate, "skipped", str(error))
    except UserError as error:
        return _not_made(candidate, "failed", str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        # A library that stumbles over one network must not cost the other candidates.
        warn(f"{candidate.name} failed: {type(error).__name__}: {error}")
        return _not_made(candidate, "failed", f"{type(error).__name__}: {error}")
    return Variant(candidate.name, bundle, method=candidate.method or "export")


def _there_already(candidate: Candidate, source: _Source, out: Path) -> Bundle | None:
    """What an interrupted run made, if it is whole and was made as it would be made now."""
    if not out.exists():
        return None
    try:
        bundle = read_bundle(out)
    except BundleError as error:
        warn(f"{error}; it is made again")
        return None
    lineage = bundle.manifest.lineage
    wanted = dict(candidate.options)
    if CALIBRATION_HASH in lineage.config:
        wanted[CALIBRATION_HASH] = calibration_hash(
            source.parent, source.data, source.calibration, source.scored
        )
    same = (
        lineage.method == (candidate.method or "export")
        and any(parent["id"] == source.parent.id for parent in lineage.parents)
        and all(lineage.config.get(key) == value for key, value in wanted.items())
        and bundle.manifest.metrics.get(THRESHOLDS, {}).get(DATA, source.val) == source.val
    )
    return bundle if same else None


def _not_made(candidate: Candidate, verdict: str, reason: str) -> Variant:
    return Variant(
        candidate.name,
        None,
        method=candidate.method or "export",
        runtime=candidate.runtime,
        precision=candidate.precision,
        verdict=verdict,
        reason=reason,
    )


def _lost(metric: Metric, reference: Scores, other: Scores) -> float:
    """Points lost on validation photos; on test photos where there are none to choose by."""
    if reference.val is not None and other.val is not None:
        return drop_of(metric, reference.val, other.val)
    return drop_of(metric, reference.test, other.test)
