"""`shrink`: try chains of compression steps on a float bundle, keep what is proven."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.card import render, with_measured
from pocketlens.core.directory import refuse_existing
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.examples import Examples
from pocketlens.core.gate import Goal, Limits
from pocketlens.core.metrics import Metric
from pocketlens.core.predictor import available_cores
from pocketlens.core.split import halves
from pocketlens.extras import installed
from pocketlens.progress import say
from pocketlens.workflows._calibrating import hash_calibration
from pocketlens.workflows._candidates import Source, make, not_made
from pocketlens.workflows._ladder import Candidate, Facts, ladder
from pocketlens.workflows._parts import examples_of
from pocketlens.workflows._result import RESULT, Table, write_reports
from pocketlens.workflows._stopping import FLOAT, Progress, beyond, with_untried
from pocketlens.workflows._table import Scores, Variant, drop_of, score_variant, tabulate
from pocketlens.workflows._thresholds import hash_of
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows.convert import copy_bundle
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, data_paths, describe_data
from pocketlens.workflows.evaluate import metric_of
from pocketlens.workflows.open import BundleLike, as_bundle

#: Test photos of a model without validation photos, from which on they are divided.
_DIVIDED: Final = 20


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

    effort: Literal["quick", "thorough", "exhaustive"] = "thorough"
    """quick: only what takes seconds; thorough: also longer steps and such that train, while none
    keeps to all limits; exhaustive: all of them."""

    target: Literal["cpu", "phone"] = "cpu"
    """Where it will run; for a phone, what phones can't run is left out."""

    budget: float | None = None
    """Minutes after which nothing new is tried; without, until the limits are kept to."""

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


def plan(bundle: BundleLike, data: DataLike, config: ShrinkConfig) -> list[Candidate]:
    """What `shrink` would try, in order, with an estimate of the seconds each takes."""
    return ladder(_facts(as_bundle(bundle), as_hashed(data), config, available_cores()))


def _facts(parent: Bundle, hashed: Hashed, config: ShrinkConfig, threads: int) -> Facts:
    num_train = hashed.identities and len(set(parent.split.train) & set(hashed.identities))
    return Facts(
        config.num_images,
        int(num_train or 0),
        int(parent.manifest.model.get("macs") or 0),
        threads,
        config.max_drop,
        config.effort != "quick",
        config.target,
        installed("litert"),
    )


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
    test, val, told = _scored_photos(parent, hashed)
    choosing = val if len(val) else None
    # Read once, however many steps calibrate on them.
    pool = None if calibration is None else hash_calibration(calibration)
    scored = frozenset((*test.identities, *val.identities))
    source = Source(parent, hashed, pool, scored, hash_of(val), threads)
    variants = [Variant(FLOAT, parent, method=parent.manifest.lineage.method)]
    scores = {FLOAT: score_variant(parent, test, choosing, threads, FLOAT)}
    made: dict[str, Bundle] = {}
    passed: set[str] = set()
    missing: set[str] = set()
    progress = Progress(config, threads, test, scores)
    deadline = None if config.budget is None else time.monotonic() + config.budget * 60
    rungs, untried, met = ladder(_facts(parent, hashed, config, threads)), [], ""
    for i, candidate in enumerate(rungs):
        if candidate.family and candidate.family in passed:
            continue
        if candidate.of and (candidate.of not in made or candidate.runtime in missing):
            continue
        if config.effort != "exhaustive" and candidate.dear and (met := progress.is_met(variants)):
            untried = [c for c in rungs[i:] if not (c.family and c.family in passed)]
            break
        if deadline is not None and (why := beyond(candidate, deadline - time.monotonic())):
            variants.append(not_made(candidate, "skipped", why))
            continue
        say(f"trying {candidate.name}: {candidate.describe()}")
        variant = make(candidate, source, target / "variants", made)
        variants.append(variant)
        if variant.bundle is None:
            if variant.verdict == "skipped" and candidate.method is None:
                missing.add(candidate.runtime)  # said once is enough
            continue
        made[candidate.name] = variant.bundle
        try:
            found = score_variant(variant.bundle, test, choosing, threads, candidate.name)
        except UserError as error:
            variants[-1] = not_made(candidate, "failed", str(error))
            continue
        scores[candidate.name] = found
        if _lost(chosen, scores[FLOAT], found) <= config.max_drop:
            passed.add(candidate.family)
            progress.accurate.add(candidate.name)
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
        notes=(*notes, *told),
        home=target,
    )
    comparison = with_untried(comparison, met, untried)
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
    card = with_measured(_card(bundle, target / "best"), comparison, best)
    copy_bundle(bundle, target / "best", card=card, overwrite=True)
    write_reports(target, comparison)
    return Table(comparison, target, target / "best")


def _card(bundle: Bundle, place: Path) -> str:
    """The card of a bundle; where it stands already, with what somebody wrote into it."""
    try:
        there = read_bundle(place)
    except BundleError:
        there = bundle
    edited = there.card if there.id == bundle.id else None
    return edited or bundle.card or render(bundle)


def _scored_photos(parent: Bundle, hashed: Hashed) -> tuple[Examples, Examples, list[str]]:
    """Photos to score by, photos to choose by, and what to say of them.

    Of an imported model no photo is known to be for validation. To choose among many variants by
    the test photos would make the best of them look better than it is, so these are divided.
    """
    test, val = (examples_of(parent, hashed, part) for part in ("test", "val"))
    if len(val) or len(test) < _DIVIDED:
        return test, val, []
    by, left = halves(test.samples, test.identities)
    if not by or not left:  # one group
        return test, val, []
    note = (
        f"the model remembers no validation photos, so {len(by)} of its {len(test)} test photos "
        f"were used to choose by, and {len(left)} to score"
    )
    return test.take(left), test.take(by), [note]


def _lost(metric: Metric, reference: Scores, other: Scores) -> float:
    """Points lost on validation photos; on test photos where there are none to choose by."""
    if reference.val is not None and other.val is not None:
        return drop_of(metric, reference.val, other.val)
    return drop_of(metric, reference.test, other.test)
