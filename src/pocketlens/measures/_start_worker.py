"""The process whose start is measured: it opens one bundle, answers one photo and ends.

Run as `python -m pocketlens.measures._start_worker ORDER` by `measures.start`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from pocketlens import plugins
from pocketlens.core.bundle import read_bundle
from pocketlens.core.dataset import Box
from pocketlens.core.predictor import Predictor, Request
from pocketlens.core.session import SessionOptions


def main(order: str) -> None:
    """Answer, then say how much memory that took."""
    given = json.loads(order)
    bundle = read_bundle(given["bundle"])
    runtime = plugins.load("runtimes", bundle.manifest.runtime)
    session = runtime.open(bundle, SessionOptions(given["threads"]))
    predictor = Predictor(bundle.manifest, session, batch_size=1)
    path, box = given["request"]
    predictor.logits(predictor.prepare(Request(path, None if box is None else Box(*box)))[None])
    print(json.dumps({"memory_bytes": peak_bytes()}), flush=True)  # noqa: T201


def peak_bytes() -> int | None:
    """Most memory that this process has held at a time; None where the system doesn't tell.

    Linux' own figure for the process, since `getrusage` gives a child at least its parent's peak.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(sys.argv[1])
