"""One candidate of `shrink`: made, found to be there already, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.directory import NO_ROOM
from pocketlens.core.errors import BundleError, MissingExtraError, UserError
from pocketlens.progress import say, warn
from pocketlens.workflows._calibrating import CALIBRATION_HASH, calibration_hash
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
            interrupted = out.with_name(f"{out.name}.run").exists()
            bundle = compress(
                _start(candidate, source, made),
                method=candidate.method,
                out=out,
                data=source.data,
                calibration=source.calibration,
                teacher=source.parent,
                threads=source.threads,
                resume=interrupted and not out.exists(),
                overwrite=not interrupted or out.exists(),
                scored=source.scored,
                **candidate.options,
            )
    except MissingExtraError as error:
        return not_made(candidate, "skipped", str(error))
    except UserError as error:
        return not_made(candidate, "failed", str(error))
    except Exception as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        # A library that stumbles over one network must not cost the other candidates.
        warn(f"{candidate.name} failed: {type(error).__name__}: {error}")
        return not_made(candidate, "failed", f"{type(error).__name__}: {error}")
    return Variant(candidate.name, bundle, method=candidate.method or "export")


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
        same = _made_so(bundle, candidate, source)
    thresholds = bundle.manifest.metrics.get(THRESHOLDS, {}).get(DATA, source.val)
    return bundle if same and thresholds == source.val else None


def _made_so(bundle: Bundle, candidate: Candidate, source: Source) -> bool:
    """Whether these steps, on these photos, are what lies between the float bundle and this one."""
    assert candidate.method is not None
    lineage = bundle.manifest.lineage
    ids = [parent["id"] for parent in lineage.parents]
    if source.parent.id not in ids:
        return False
    after = lineage.parents[ids.index(source.parent.id) + 1 :]
    done = [(parent["method"], parent.get("config", {})) for parent in after]
    done = [step for step in (*done, (lineage.method, lineage.config)) if step[0] != "export"]
    steps = read_chain(candidate.method, candidate.options)
    if len(done) != len(steps):
        return False
    if not all(step.made_by(*found) for step, found in zip(steps, done, strict=True)):
        return False
    hashes = {c[CALIBRATION_HASH] for _, c in done if CALIBRATION_HASH in c}
    if not hashes:
        return True
    now = calibration_hash(source.parent, source.data, source.calibration, source.scored)
    return hashes == {now}


def not_made(candidate: Candidate, verdict: str, reason: str) -> Variant:
    """A row for what there is no bundle of."""
    return Variant(
        candidate.name,
        None,
        method=candidate.method or "export",
        runtime=candidate.runtime,
        precision=candidate.precision,
        verdict=verdict,
        reason=reason,
    )
