"""`compress`: one compression step on a bundle, or a chain of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from pocketlens.compression._step import Calibration, Context
from pocketlens.core.bundle import Bundle, read_bundle, write_bundle
from pocketlens.core.directory import MANIFEST, cache_dir, refuse_existing
from pocketlens.core.errors import BundleError, UserError
from pocketlens.core.predictor import available_cores
from pocketlens.explain.choice import Choice
from pocketlens.extras import require
from pocketlens.measures.latency import measure_latency
from pocketlens.measures.machine import describe_machine
from pocketlens.measures.operations import count_operations
from pocketlens.progress import say, warn
from pocketlens.training.repeatable import torch_threads
from pocketlens.workflows._calibrating import calibration_source, hash_calibration
from pocketlens.workflows._calibration_choice import check_choice
from pocketlens.workflows._call import (
    CALL,
    call_hash,
    forget_steps,
    refuse_interrupted,
    remember,
)
from pocketlens.workflows._chain import Step, check_chain, read_chain
from pocketlens.workflows._probe import with_probe
from pocketlens.workflows._thresholds import own_thresholds
from pocketlens.workflows._tuning import Material, material, trainer
from pocketlens.workflows._workplace import workplace
from pocketlens.workflows.convert import export
from pocketlens.workflows.data import DataLike, Hashed, as_hashed, data_paths
from pocketlens.workflows.open import BundleLike, as_bundle, load

#: Extras of methods that do without torch, which is slow to load and need not be installed.
_WITHOUT_TORCH: Final = ("onnx", "openvino")


def compress(
    bundle: BundleLike,
    *,
    method: str | Sequence[str],
    out: str | os.PathLike[str],
    data: DataLike | Hashed | None = None,
    calibration: DataLike | Hashed | None = None,
    calibration_choice: Choice = "random",
    teacher: BundleLike | None = None,
    threads: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    scored: Collection[str] = (),
    **options: Any,
) -> Bundle:
    """Make one compression step, or a chain of them.

    A method that needs the ONNX file of a torch bundle has it exported first. Steps that train,
    and chains, keep what they have done so far in `OUT.run`.

    Args:
        method: its name, or several with commas between, in the order they are made.
        data: the bundle's data; ranges are found on its training part, class-balanced, and the
            thresholds of a multi-label bundle on its validation part. Methods that train need it.
        calibration: other photos for that; their labels don't matter.
        calibration_choice: which of them: `random` (class-balanced), as many from each of the
            `clusters` of the network's own features, or by `k-centre` so that all are near one.
        teacher: float bundle whose answers are learnt from; default: `bundle`.
        threads: processor threads; all cores by default.
        resume: go on with what an interrupted call left in `OUT.run`.
        scored: identities of photos that ranges must not be found on, beside the validation and
            test photos of the bundle's own split.
        options: those of the methods' `Config`; `prune:ratio` (in a dictionary) is for one alone.

    Raises:
        UserError: the method doesn't take this bundle, or photos it needs were not named.
    """
    source = as_bundle(bundle)
    target = Path(out)
    steps = read_chain(method, options)
    choice = check_choice(calibration_choice)
    if not (resume and (target / MANIFEST).is_file()):
        read = [source.path, *data_paths(data), *data_paths(calibration)]
        refuse_existing(target, overwrite=overwrite, inputs=read)
    check_chain(source, steps)
    _check_photos(steps, data, calibration)
    chosen = source if teacher is None else _check_teacher(as_bundle(teacher), source)
    data = hashed = None if data is None else as_hashed(data)  # once, for all that needs them
    calibration = None if calibration is None else hash_calibration(calibration)
    looked_at = any(step.needs_data or step.plugin.NEEDS_CALIBRATION for step in steps)
    if hashed is not None and calibration is None and looked_at:
        _check_known(source, hashed)
    call = call_hash(source, steps, chosen, hashed, calibration, choice, scored)
    if resume and (target / MANIFEST).is_file():
        return _complete(target, call)
    work = target.with_name(f"{target.name}.run")
    with ExitStack() as stack:
        if len(steps) == 1 and not steps[0].needs_data:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        else:
            refuse_interrupted(work, call, resume=resume, overwrite=overwrite)
            again = resume or not overwrite  # a finished run's tables may lie there
            stack.enter_context(workplace(work, resume=again, overwrite=overwrite))
            remember(work, call)
        current = source
        for number, step in enumerate(steps, 1):
            last = number == len(steps)
            place = target if last else work / f"{number}-{step.method}"
            if resume and not last and (made := _made_before(place, call)) is not None:
                say(f"step {number} of {len(steps)}, {step.method}, is there already")
                current = made
                continue
            if len(steps) > 1:
                say(f"step {number} of {len(steps)}: {step.method}")
            order = _Order(
                current, step, place, chosen, hashed, threads, resume, overwrite or not last, call
            )
            calibrate = calibration_source(current, data, calibration, frozenset(scored), choice)
            current = _make(order, calibrate, work / f"{number}-{step.method}.run")
        forget_steps(work)
        return current


def _check_teacher(teacher: Bundle, source: Bundle) -> Bundle:
    mine, its = source.manifest, teacher.manifest
    if its.precision != "float32" or its.task != mine.task:
        raise UserError(
            f"--teacher {teacher.path} is a {its.task} model in {its.precision}; learning needs a "
            f"float32 one for the same task as {source.path}"
        )
    if missing := sorted(set(mine.classes) - set(its.classes)):
        raise UserError(
            f"--teacher {teacher.path} doesn't know {len(missing)} classes, such as "
            f"{', '.join(missing[:3])}; name one that was trained on this data"
        )
    return teacher


def _check_photos(steps: Sequence[Step], data: object, calibration: object) -> None:
    for step in steps:
        if step.needs_data and data is None:
            raise UserError(
                f"{step.method} learns from photos and is scored on some: pass --data (the photos "
                "it was trained on)"
            )
        if step.plugin.NEEDS_CALIBRATION and data is None and calibration is None:
            raise UserError(
                f"{step.method} finds its ranges on photos: pass --data (the photos it was trained "
                "on) or --calibration (other photos like those it will see)"
            )


def _check_known(source: Bundle, data: Hashed) -> None:
    """Other photos than the bundle's are refused before anything is exported or trained."""
    split = source.split
    if split and "train" not in split.parts_of(data.identities):
        raise UserError(
            f"none of the photos in {data.dataset.root} is one that {source.path} was trained on; "
            "pass the same data, or photos by --calibration"
        )


def _complete(target: Path, call: str) -> Bundle:
    """What an earlier call made, if it is what is asked for now.

    Raises:
        UserError: it was made otherwise.
    """
    bundle = read_bundle(target)
    if bundle.manifest.lineage.config.get(CALL) != call:
        raise UserError(
            f"{target} was made with another method, other options or photos, or from another "
            "bundle; name another --out, or start anew with --overwrite"
        )
    say(f"{target} is complete already")
    return bundle


def _made_before(place: Path, call: str) -> Bundle | None:
    """The bundle of a step that an interrupted chain had come to the end of."""
    if not place.exists():
        return None
    try:
        bundle = read_bundle(place)
    except BundleError as error:
        warn(f"{error}; it is made again")
        return None
    return bundle if bundle.manifest.lineage.config.get(CALL) == call else None


@dataclass(frozen=True)
class _Order:
    """One step to be made."""

    parent: Bundle
    step: Step
    place: Path
    teacher: Bundle
    data: Hashed | None
    threads: int | None
    resume: bool
    overwrite: bool
    call: str


def _make(order: _Order, calibrate: Callable[[int, int], Calibration], work: Path) -> Bundle:
    step, parent = order.step, order.parent
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        prepared = _as_taken(parent, step, Path(folder) / "step")
        if prepared.manifest.input.layout != "NCHW":
            raise UserError(
                f"{prepared.path} takes its pixels last ({prepared.manifest.input.layout}), which "
                "no method here does; export the network with NCHW inputs and import that"
            )
        photos = _Photos(prepared, order.data, stack)
        looked_at: list[Calibration] = []

        def calibration(num_images: int, seed: int) -> Calibration:
            looked_at.append(calibrate(num_images, seed))
            return looked_at[-1]

        manifest = prepared.manifest
        side = manifest.preprocess
        if step.needs_data:
            work.mkdir(parents=True, exist_ok=True)
        if step.plugin.EXTRA not in _WITHOUT_TORCH:
            # Sums are added up by thread, so the last bit depends on how many there are.
            require("torch", extra="train")
            stack.enter_context(torch_threads(order.threads or available_cores()))
        context = Context(
            out=Path(folder) / "made" / order.place.name,
            overwrite=order.overwrite,
            calibration=calibration,
            train=trainer(
                lambda: photos.found,
                order.teacher,
                work,
                threads=order.threads,
                resume=order.resume,
                call=order.call,
            ),
            score=lambda session: photos.found.score(session),
            operations=lambda module: count_operations(module, side.height, side.width),
            latency=lambda bundles: _latency(bundles, photos.found, order.threads),
            work=work if step.needs_data else Path(folder) / "work",
            cpu_flags=tuple(describe_machine()["cpu_flags"]),
            cache=cache_dir(),
        )
        made: Bundle = step.plugin.apply(prepared, step.config, context)
        lineage = made.manifest.lineage
        split = made.split
        facts: dict[str, Any] = {}
        for chosen in looked_at:  # whatever a method did with them, none is ever scored
            together = {*split.calibration, *chosen.split.calibration}
            split = replace(split, calibration=tuple(sorted(together)))
            facts |= {
                "calibrated_on": chosen.source,
                "calibration_hash": chosen.pool_hash,
                "calibration_choice": chosen.choice,
            }
        config = {**facts, **lineage.config, CALL: order.call}
        lineage = replace(lineage, config=config)
        manifest = replace(made.manifest, lineage=lineage)
        made = replace(made, manifest=manifest)
        if manifest.task == "multi_label":
            manifest = own_thresholds(made, parent, order.data)
        with load(made) as predictor:
            manifest = with_probe(manifest, predictor)
        files = {name: made.path / name for name in manifest.files}
        return write_bundle(order.place, manifest, files, split=split, overwrite=order.overwrite)


@dataclass
class _Photos:
    """Training and validation photos, opened when a method first asks for them."""

    bundle: Bundle
    data: Hashed | None
    stack: ExitStack

    @cached_property
    def found(self) -> Material:
        """The photos.

        Raises:
            UserError: no data was named.
        """
        if self.data is None:
            raise UserError("this needs the photos that the bundle was trained on: pass --data")
        return self.stack.enter_context(material(self.bundle, self.data))


def _latency(
    bundles: Mapping[str, Path], photos: Material, threads: int | None
) -> Mapping[str, float]:
    requests = [photos.train.request(i) for i in range(min(8, len(photos.train)))]
    found = measure_latency(bundles, requests, threads=threads or available_cores(), batch=1)
    if failed := [f"{name}: {timing.failed}" for name, timing in found.items() if timing.failed]:
        raise UserError(f"the network can't be timed: {failed[0]}")
    return {name: timing.latency_ms for name, timing in found.items()}


def _as_taken(bundle: Bundle, step: Step, folder: Path) -> Bundle:
    """The bundle in the form a method takes, by an export where that is unambiguous."""
    runtime = step.plugin.TAKES[0]
    if bundle.manifest.runtime == runtime:
        return bundle
    say(f"{step.method} works on {runtime} files, so {bundle.path} is exported first")
    return export(bundle, runtime=runtime, out=folder)
