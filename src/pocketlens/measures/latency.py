"""Latency and throughput of variants, measured so that the figures can be compared.

One process a variant; blocks of calls take turns, the others idle meanwhile; the first calls of
each block are thrown away. Changing network at every call would empty the caches and flatter the
smaller network; one block each would take the machine's moods for differences.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np

from pocketlens.core.errors import UserError
from pocketlens.core.predictor import Request
from pocketlens.measures.load import moment, taken_by_others
from pocketlens.progress import bar

CALLS: Final = 25
DISCARDED: Final = 3
ROUNDS: Final = 7
_BLOCK_MS: Final = 150.0

#: Blocks that differ by more than this (interquartile range over median) can't be ranked.
NOISY_PERCENT: Final = 10.0

#: Nor where other programs took more than this share of one core meanwhile.
BUSY_PERCENT: Final = 15.0

#: A lead below this share is none: a process may keep it for its life by the luck of where its
#: memory lies, and lose it with the next.
_WHIM: Final = 0.05
#: How many times the slowest block of one must be faster than the fastest of the other, where the
#: machine was noisy.
_NOISY_LEAD: Final = 2.0

#: Seconds before a block: threads of the variant before it wait for work in a loop that takes up
#: to half a core from whoever comes next.
_SETTLE_S: Final = 0.25

#: Large buffers stay with the process instead of going back to the system after each call, which
#: costs eager PyTorch up to half of its speed; all variants get it, so that none is flattered.
_ALLOCATOR: Final = "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=1073741824"


@dataclass(frozen=True)
class Timing:
    """Figures of one variant.

    Attributes:
        latency_ms: median of the blocks' medians at batch 1, network alone; `p95_ms` over all
            calls; `spread_percent` the blocks' interquartile range over their median.
        e2e_latency_ms: median from a file's bytes on disk to logits.
        throughput: images a second at `batch`.
        blocks_ms: medians of the blocks in order; blocks of one round are paired.
        others_percent: of one core, what other programs took during its blocks.
        failed: why it could not be measured, or None.
    """

    latency_ms: float = math.nan
    p95_ms: float = math.nan
    spread_percent: float = math.nan
    e2e_latency_ms: float = math.nan
    throughput: float = math.nan
    batch: int = 1
    blocks_ms: tuple[float, ...] = field(default=(), repr=False)
    others_percent: float = 0.0
    failed: str | None = None

    @property
    def noisy(self) -> bool:
        """Whether the blocks differ too much, or others worked too much, to rank this variant."""
        return not self.spread_percent <= NOISY_PERCENT or self.others_percent > BUSY_PERCENT


def speedup(reference: Timing, other: Timing) -> float:
    """How many times faster `other` is: the median over rounds of the paired blocks' ratio."""
    return float(np.median(np.divide(reference.blocks_ms, other.blocks_ms)))


def is_faster(one: Timing, other: Timing) -> bool:
    """Whether `one` is surely the faster: in every round, and by more than a whim.

    Where the machine was noisy, only if even its slowest block is twice as fast as the other's
    fastest: another program was seen to change a ratio 1.7 times. One that failed is not surely
    anything.
    """
    if one.failed is not None or other.failed is not None:
        return False
    if one.noisy or other.noisy:
        return bool(min(other.blocks_ms) > _NOISY_LEAD * max(one.blocks_ms))
    ratios = np.divide(other.blocks_ms, one.blocks_ms)
    return bool(ratios.min() > 1 and np.median(ratios) > 1 + _WHIM)


def measure_latency(
    bundles: Mapping[str, Path],
    requests: Sequence[Request],
    *,
    threads: int,
    batch: int = 16,
    rounds: int = ROUNDS,
    untuned: Collection[str] = (),
) -> dict[str, Timing]:
    """Time all variants in turns.

    Args:
        bundles: name -> directory.
        requests: photos to time with; their files are read again at each end-to-end call.
        threads: of each runtime.
        batch: for the throughput.
        untuned: names of variants that get the system's own settings of the allocator.
    """
    if not requests:
        raise UserError("no photo to measure with")
    timings: dict[str, Timing] = {}
    blocks: dict[str, _Blocks] = {}
    with ExitStack() as stack:
        workers: dict[str, _Worker] = {}

        @contextmanager
        def trying(name: str) -> Iterator[None]:
            """A variant whose process dies is a row with its reason; the others go on."""
            try:
                yield
            except _WorkerError as error:
                workers.pop(name, None)
                timings[name] = Timing(failed=str(error))

        for name, path in bundles.items():
            with trying(name):
                worker = _Worker(path, requests, threads, batch, tuned=name not in untuned)
                workers[name] = stack.enter_context(worker)
        for name, worker in list(workers.items()):
            with trying(name):
                blocks[name] = _Blocks(_calls_a_block(worker))
        with bar("measuring latency", rounds * len(workers)) as advance:
            for number in range(rounds):
                for name in _rotated(list(workers), number):
                    with trying(name):
                        blocks[name].measure(workers[name], whole_way=number < 3)
                    advance()
    return timings | {name: blocks[name].timing(batch) for name in workers}


@dataclass(frozen=True)
class _Blocks:
    """Milliseconds of one variant's calls: blocks of the network alone, and the other kinds."""

    calls: int
    network: list[list[float]] = field(default_factory=list)
    busy: list[tuple[float, float]] = field(default_factory=list)
    e2e: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)

    def measure(self, worker: _Worker, *, whole_way: bool) -> None:
        time.sleep(_SETTLE_S)
        begin = moment(worker.pid)
        self.network.append(worker.time("network", self.calls)[DISCARDED:])
        self.busy.append(taken_by_others(begin, moment(worker.pid)))
        if whole_way:
            self.e2e.extend(worker.time("e2e", CALLS)[DISCARDED:])
            self.batches.extend(worker.time("batch", 4)[1:])

    def timing(self, batch: int) -> Timing:
        medians = [float(np.median(block)) for block in self.network]
        low, middle, high = np.percentile(medians, [25, 50, 75])
        others, passed = np.sum(self.busy, axis=0)
        return Timing(
            latency_ms=float(middle),
            p95_ms=float(np.percentile(np.concatenate(self.network), 95)),
            spread_percent=float((high - low) / middle * 100),
            e2e_latency_ms=float(np.median(self.e2e)),
            throughput=batch / float(np.median(self.batches)) * 1000,
            batch=batch,
            blocks_ms=tuple(medians),
            others_percent=float(100 * others / passed) if passed else 0.0,
        )


def _calls_a_block(worker: _Worker) -> int:
    """Enough calls for a block to last, at least 25; this first block warms the process up."""
    typical = float(np.median(worker.time("network", 10)[DISCARDED:]))
    worker.time("batch", 1)
    return DISCARDED + max(CALLS, min(200, math.ceil(_BLOCK_MS / typical)))


def _rotated(names: list[str], by: int) -> list[str]:
    by %= max(1, len(names))
    return names[by:] + names[:by]


class _WorkerError(Exception):
    pass


class _Worker:
    """A process that has one variant open."""

    def __init__(
        self,
        bundle: Path,
        requests: Sequence[Request],
        threads: int,
        batch: int,
        *,
        tuned: bool = True,
    ) -> None:
        self._environment = {**os.environ, "GLIBC_TUNABLES": _ALLOCATOR} if tuned else None
        self._order = {
            "bundle": str(bundle.resolve()),
            "threads": threads,
            "batch": batch,
            "requests": [(os.path.abspath(str(r.source)), r.box) for r in requests],
        }

    def __enter__(self) -> _Worker:
        # `-P`: a json.py in the folder where the user happens to be must not be run.
        # A file, since a pipe that nobody reads would stop a process that says much.
        self._errors = tempfile.TemporaryFile("w+")
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "pocketlens.measures._latency_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=self._environment,
        )
        self._send(self._order)
        if self._receive() != "ready":
            reason = self._last_words()
            self.__exit__(None, None, None)
            raise _WorkerError(reason)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):  # what was written last couldn't be flushed
                    pipe.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def time(self, kind: str, calls: int) -> list[float]:
        """Milliseconds of each of `calls` calls."""
        self._send({"kind": kind, "calls": calls})
        line = self._receive()
        if not line:
            raise _WorkerError(self._last_words())
        times: list[float] = json.loads(line)
        return times

    def _send(self, value: object) -> None:
        assert self._process.stdin is not None
        # A process that is gone is found out by `_receive`, and its last words say why.
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(value) + "\n")
            self._process.stdin.flush()

    def _receive(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def _last_words(self) -> str:
        code = self._process.wait(timeout=10)
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        ended = f"signal {-code} ended its process" if code < 0 else "its process ended"
        return lines[-1] if lines and code >= 0 else f"{ended}, perhaps for want of memory"
