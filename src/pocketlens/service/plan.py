"""How the cores are shared out: threads of one call of the network, calls at a time, batch.

Measured when a service first opens a bundle on a machine, and remembered in `home/plans`. A process
of its own measures, because the memory of the sessions that it tries would stay with the service:
`python -m pocketlens.service.plan BUNDLE CORES`.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np
from filelock import FileLock
from PIL import Image

from pocketlens import plugins
from pocketlens.core.bundle import Bundle, read_bundle
from pocketlens.core.noise import coloured_noise
from pocketlens.core.predictor import Predictor, Request, available_cores
from pocketlens.core.session import SessionOptions
from pocketlens.extras import versions
from pocketlens.service.settings import Settings

_LOG = logging.getLogger(__name__)

#: Seconds that measuring may take.
BUDGET: Final = 2.0
#: Seconds after which a process that measures is given up: it has to load its libraries, too.
_PATIENCE: Final = 30.0
#: Photos that a batch is tried with.
_BATCH: Final = 4
#: Times the images a second that a batch must bring, since the first of it waits for the last.
_GAIN: Final = 1.10
#: Times the processor time an image that counts as the same.
_SAME: Final = 1.05
_ROUNDS: Final = 5
_SCHEMA: Final = 1


@dataclass(frozen=True)
class Plan:
    """How a bundle is asked.

    Attributes:
        threads: processor threads of one call of the network.
        workers: calls at a time, each with a thread that also decodes.
        batch: photos of a call, where so many wait; nothing waits for a batch to fill.
    """

    threads: int
    workers: int
    batch: int = 1


@dataclass(frozen=True)
class Measured:
    """What a plan was seen to do in each round: images a second, processor seconds an image."""

    plan: Plan
    rates: tuple[float, ...]
    costs: tuple[float, ...]

    @property
    def rate(self) -> float:
        """Median of the images a second."""
        return median(self.rates)

    @property
    def cpu_seconds(self) -> float:
        """Median of the processor seconds an image."""
        return median(self.costs)


def plan_for(bundle: Bundle, settings: Settings) -> Plan:
    """The settings' threads and workers; where both are left open, the measured ones.

    Two processes that start together measure once: one waits for the other's result.
    """
    cores = available_cores()
    if not getattr(plugins.load("runtimes", bundle.manifest.runtime), "STREAMS", False):
        return Plan(settings.threads or cores, 1)  # it takes one call at a time
    if settings.threads is not None or settings.workers is not None:
        threads = settings.threads or max(1, cores // (settings.workers or 1))
        return Plan(threads, settings.workers or max(1, cores // threads))
    folder = settings.home / "plans"
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / f"{_key(bundle, cores)}.json"
    with FileLock(kept.with_suffix(".lock")):
        if (known := _read(kept)) is not None:
            return known
        seen = _measured_apart(bundle, cores)
        if seen is None:
            return Plan(1, cores)
        chosen = choose(seen) if seen else Plan(1, cores)
        for row in seen:
            _LOG.info("%s: %.1f images/s, %.1f ms", row.plan, row.rate, 1e3 * row.cpu_seconds)
        _write(kept, chosen, seen)
        return chosen


def candidates(cores: int) -> list[Plan]:
    """Each core a call of its own, all cores one call, and pairs; the first also in batches."""
    shares = sorted({1, min(2, cores), cores})
    return [Plan(threads, cores // threads) for threads in shares] + [Plan(1, cores, _BATCH)]


def choose(seen: Sequence[Measured]) -> Plan:
    """The most images a second; where that is a tie, the least processor time, then fewer threads.

    A batch must bring a tenth more than the best without in each round, so that no hiccup of the
    machine decides it, and at the same processor time.
    """
    single = [row for row in seen if row.plan.batch == 1]
    most = max(row.rate for row in single)
    fast = [row for row in single if row.rate * _SAME >= most]
    least = min(row.cpu_seconds for row in fast)
    cheap = [row for row in fast if row.cpu_seconds <= _SAME * least]
    best = min(cheap, key=lambda row: row.plan.threads)
    worth = [
        row
        for row in seen
        if row.plan.batch > 1
        and all(with_ >= _GAIN * out for with_, out in zip(row.rates, best.rates, strict=True))
        and row.cpu_seconds <= _SAME * best.cpu_seconds
    ]
    return max(worth, key=lambda row: row.rate, default=best).plan


def measure(bundle: Bundle, plans: Sequence[Plan], budget: float = BUDGET) -> list[Measured]:
    """Ask a made-up photo again and again by each plan in turns.

    Returns:
        One row a plan; none where the time didn't suffice for a round.
    """
    from pocketlens.service.engine import Engine  # which asks this module for its plan

    until = time.monotonic() + budget
    runtime = plugins.load("runtimes", bundle.manifest.runtime)
    photo = _photo(bundle)
    rates: list[list[float]] = [[] for _ in plans]
    costs: list[list[float]] = [[] for _ in plans]
    with ExitStack() as opened:
        engines = []
        for plan in plans:
            options = SessionOptions(plan.threads * plan.workers, plan.workers)
            session = runtime.open(bundle, options)
            predictor = Predictor(bundle.manifest, session, batch_size=plan.batch)
            engine = Engine(predictor, plan)
            opened.callback(engine.close)
            engines.append(engine)
            engine.answer_now([Request(photo)] * plan.workers * plan.batch)  # the first is slow
            if time.monotonic() > until:
                return []
        start = time.monotonic()
        engines[0].answer_now([Request(photo)] * plans[0].workers)
        slice_seconds = (until - start) / ((_ROUNDS + 1) * len(plans))
        calls = max(1, int(slice_seconds / max(1e-4, time.monotonic() - start)))
        for _ in range(_ROUNDS):
            began = time.monotonic()
            for engine, rate, cost in zip(engines, rates, costs, strict=True):
                num = calls * plans[0].workers
                num += -num % engine.plan.batch
                start, cpu = time.perf_counter(), time.process_time()
                engine.answer_now([Request(photo)] * num)
                rate.append(num / (time.perf_counter() - start))
                cost.append((time.process_time() - cpu) / num)
            if time.monotonic() + (time.monotonic() - began) > until:
                break
    return [
        Measured(plan, tuple(rate), tuple(cost))
        for plan, rate, cost in zip(plans, rates, costs, strict=True)
    ]


def _measured_apart(bundle: Bundle, cores: int) -> list[Measured] | None:
    """What `measure` gives, by a process of its own; None where that fails."""
    command = [sys.executable, "-m", __name__, str(bundle.path.resolve()), str(cores)]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PATIENCE
        )
        if done.returncode == 0:
            rows = json.loads(done.stdout)
            return [Measured(Plan(**row.pop("plan")), **row) for row in rows]
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    except (subprocess.TimeoutExpired, OSError) as error:
        reason = type(error).__name__
    _LOG.warning("how to share out the cores can't be measured (%s): a call a core", reason)
    return None


def _photo(bundle: Bundle) -> bytes:
    """A photo of the network's size, as JPEG."""
    spec = bundle.manifest.preprocess
    pixels = coloured_noise(np.random.default_rng(0), 32, spec.height, spec.width)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def _key(bundle: Bundle, cores: int) -> str:
    """Of what the result depends on: the bundle, the machine, the library that runs it."""
    from pocketlens.measures.machine import describe_machine

    facts: dict[str, Any] = describe_machine()
    used = versions(bundle.manifest.runtime if bundle.manifest.runtime != "onnx" else "onnxruntime")
    told = [_SCHEMA, bundle.id, cores, facts["cpu"], facts["cpu_flags"], used]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:32]


def _read(kept: Path) -> Plan | None:
    try:
        return Plan(**json.loads(kept.read_text(encoding="utf-8"))["plan"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        _LOG.warning("what was measured of a bundle can't be read; measuring again")
        return None


def _write(kept: Path, chosen: Plan, seen: Sequence[Measured]) -> None:
    told = {"plan": asdict(chosen), "measured": [asdict(row) for row in seen]}
    trial = kept.with_suffix(f".{os.getpid()}.tmp")
    trial.write_text(json.dumps(told, indent=1), encoding="utf-8")
    trial.replace(kept)


if __name__ == "__main__":
    found = measure(read_bundle(sys.argv[1]), candidates(int(sys.argv[2])))
    sys.stdout.write(json.dumps([asdict(row) for row in found]))
