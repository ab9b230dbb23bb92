"""The process in which one variant is timed; it obeys one JSON line at a time.

Run as `python -m pocketlens.measures._latency_worker` by `measures.latency`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.dataset import Box
from pocketlens.core.predictor import Predictor, Request
from pocketlens.core.session import SessionOptions


def main() -> None:
    """Open the bundle named by the first line, then answer each line with its timings."""
    order = json.loads(sys.stdin.readline())
    bundle = read_bundle(order["bundle"])
    runtime = plugins.load("runtimes", bundle.manifest.runtime)
    session = runtime.open(bundle, SessionOptions(order["threads"]))
    predictor = Predictor(bundle.manifest, session, batch_size=1)
    requests = [Request(p, None if box is None else Box(*box)) for p, box in order["requests"]]
    inputs = np.stack([predictor.prepare(request) for request in requests])
    batch = np.resize(inputs, (order["batch"], *inputs.shape[1:]))

    def network(call: int) -> None:
        i = call % len(inputs)
        session(inputs[i : i + 1])

    def whole_way(call: int) -> None:
        # One photo at a time, as a caller with a single photo has it: nothing to run ahead on.
        session(predictor.prepare(requests[call % len(requests)])[None])

    kinds: dict[str, Callable[[int], Any]] = {
        "network": network,
        "e2e": whole_way,
        "batch": lambda _: session(batch),
    }
    print("ready", flush=True)  # noqa: T201
    for line in sys.stdin:
        asked = json.loads(line)
        call = kinds[asked["kind"]]
        times = []
        for i in range(asked["calls"]):
            start = time.perf_counter()
            call(i)
            times.append((time.perf_counter() - start) * 1000)
        print(json.dumps(times), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
