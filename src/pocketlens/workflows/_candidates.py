"""One candidate of `shrink`: made, found to be there already, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.directory import NO_ROOM
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.progress import say, warn
from pocketlens.workflows._call import CALL, call_hash, refuse_interrupted
from pocketlens.workflows._chain import read_chain
from pocketlens.workflows._ladder import Candidate
from pocketlens.workflows._table import Variant
from pocketlens.workflows._thresholds import DATA
from pocketlens.workflows._thresholds import RECORD as THRESHOLDS
from pocketlens.workflows.compress import compress
from pocketlens.workflows.convert import export
from pocketlens.workflows.data import Hashed


@dataclass(frozen=True)
class Source:
    """What all candidates are made from.

    Attributes:
        scored: identities of photos that no range may be found on.
        val: hash of the photos that thresholds are found on.
    """

    parent: Bundle
    data: Hashed
    calibration: Hashed | None
    scored: frozenset[str]
    val: str
    threads: int


def make(candidate: Candidate, source: Source, folder: Path, made: Mapping[str, Bundle]) -> Variant:
    """One candidate's bundle, or why there is none.

    Args:
        made: bundles of candidates before it, by name.
    """
    out = folder / candidate.name
    try:
        bundle = _there_already(candidate, source, out, made)
        if bundle is not None:
            say(f"{candidate.name} is there already")
        elif candidate.method is None:
            origin = made.get(candidate.of, source.parent)
            bundle = export(origin, runtime=candidate.runtime, out=out, overwrite=True)
        else:
            start = _start(candidate, source, made)
            going_on = not out.exists() and _is_going_on(candidate, source, start, out)
            bundle = compress(
                start,
                method=candidate.method,
                out=out,
                data=source.data,
                calibration=source.calibration,
                teacher=source.parent,
                threads=source.threads,
                resume=going_on,
                overwrite=not going_on,
                scored=source.scored,
                **candidate.options,
            )
    except MissingExtraError as error:
        return not_made(candidate, "skipped", str(error))
    except UserError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_ROOM:
            raise  # the others would fail alike, and the table would be of what was left
        return not_made(candidate, "failed", str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        # A library that stumbles over one network must not cost the other candidates.
        warn(f"{candidate.name} failed: {type(error).__name__}: {error}")
        return not_made(candidate, "failed", f"{type(error).__name__}: {error}")
    return Variant(candidate.name, bundle, method=candidate.method or candidate.made_by or "export")


def _start(candidate: Candidate, source: Source, made: Mapping[str, Bundle]) -> Bundle:
    """What the first step is made on: all that begin with the ONNX file share one."""
    assert candidate.method is not None
    steps = read_chain(candidate.method, candidate.options)
    if steps[0].plugin.TAKES[0] == "onnx":
        return made.get("float-onnx", source.parent)
    return source.parent


def _there_already(
    candidate: Candidate, source: Source, out: Path, made: Mapping[str, Bundle]
) -> Bundle | None:
    """What an interrupted run made, if it is whole and was made as it would be made now."""
    if not out.exists():
        return None
    try:
        bundle = read_bundle(out)
    except BundleError as error:
        warn(f"{error}; it is made again")
        return None
    if candidate.method is None:
        origin = made.get(candidate.of, source.parent)
        same = bundle.manifest.lineage.method == "export" and origin.id in bundle.family
    else:
        call = _call(candidate, source, _start(candidate, source, made))
        same = bundle.manifest.lineage.config.get(CALL) == call
    thresholds = bundle.manifest.metrics.get(THRESHOLDS, {}).get(DATA, source.val)
    return bundle if same and thresholds == source.val else None


def _call(candidate: Candidate, source: Source, start: Bundle) -> str:
    """Hash of the call that makes a candidate."""
    assert candidate.method is not None
    steps = read_chain(candidate.method, candidate.options)
    photos = source.data, source.calibration
    return call_hash(start, steps, source.parent, *photos, scored=source.scored)


def _is_going_on(candidate: Candidate, source: Source, start: Bundle, out: Path) -> bool:
    """Whether an interrupted run of just this candidate lies there."""
    work = out.with_name(f"{out.name}.run")
    if not work.exists():
        return False
    try:
        refuse_interrupted(work, _call(candidate, source, start), resume=True)
    except UserError:
        return False
    return True


def not_made(candidate: Candidate, verdict: str, reason: str) -> Variant:
    """A row for what there is no bundle of."""
    return Variant(
        candidate.name,
        None,
        method=candidate.method or candidate.made_by or "export",
        runtime=candidate.runtime,
        precision=candidate.precision,
        verdict=verdict,
        reason=reason,
    )
