"""The service under load on loopback, against the bare predictor and against other servers.

    python benchmarks/serve.py PHOTOS [--bundle ONNX | --model efficientnet_b0] [--rivals PYTHON]

In each round, one after the other: the predictor alone over the photos, a call a core (which is
the cheapest way to ask it); `pocketlens serve` with its worker, asked by 1 and by 8 clients, one
photo a request with `?wait`; LitServe and BentoML with the same predictor (`serve_rivals.py`),
where `--rivals` names a Python that has them. Servers are processes, whose processor
time is that of all their children; the clients are a process of their own and don't count. Weights
are random, which costs the same. Ratios are of the same round.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from _processes import cpu_seconds, free_port, memory_mb, running, settle

HERE = Path(__file__).parent
#: Server -> the path that is asked, and the one that says it is ready.
SERVERS = {
    "pocketlens": ("/v1/predictions?wait=30", "/readyz"),
    "litserve": ("/predict", "/health"),
    "bentoml": ("/predict", "/readyz"),
}


@dataclass
class Seen:
    """What was seen of one way to ask, over the rounds."""

    cpu_ms: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    latencies_ms: list[list[float]] = field(default_factory=list)
    memory_mb: float = 0.0
    errors: list[str] = field(default_factory=list)


def main() -> int:
    """Measure and print; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--bundle", type=Path, help="an ONNX bundle; else one is made")
    parser.add_argument("--model", default="efficientnet_b0")
    parser.add_argument("--num", type=int, default=200, help="photos, and requests of one client")
    parser.add_argument("--clients", type=int, nargs="+", default=(1, 8))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--servers", nargs="+", default=tuple(SERVERS), choices=tuple(SERVERS))
    parser.add_argument("--rivals", help="a Python with litserve, bentoml and pocketlens")
    parser.add_argument("--of", type=Path, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.of:
        print(json.dumps(_bare(*given.of)))
        return 0
    from pocketlens.core.decode import SUFFIXES

    files = sorted(p.resolve() for p in given.photos.rglob("*") if p.suffix.lower() in SUFFIXES)
    files = files[:: max(1, len(files) // given.num)][: given.num]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the servers are ended, too
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        bundle = given.bundle or _bundle(place, given.model)
        (place / "names").write_text("\n".join(map(str, files)), encoding="utf-8")
        table: dict[str, Seen] = {}
        for i in range(given.rounds):
            _round(given, place, bundle, files, table)
            load = os.getloadavg()[0]
            print(f"round {i + 1} of {given.rounds}, load average {load:.1f}", file=sys.stderr)
    _print(table)
    return 1 if any(seen.errors for seen in table.values()) else 0


def _round(
    given: argparse.Namespace,
    place: Path,
    bundle: Path,
    files: Sequence[Path],
    table: dict[str, Seen],
) -> None:
    command = [
        sys.executable,
        __file__,
        str(given.photos),
        "--of",
        str(bundle),
        str(place / "names"),
    ]
    bare = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    seen = table.setdefault("the predictor alone", Seen())
    seen.cpu_ms.append(bare["cpu_ms"])
    seen.ratios.append(1.0)
    seen.rates.append(bare["rate"])
    for server in given.servers:
        if server != "pocketlens" and not given.rivals:
            continue
        asked, ready = SERVERS[server]
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        command = _command(server, given.rivals, bundle, place, port)
        log = place / f"{server}.log"
        try:
            with running(command, url + ready, log, _environment(server, bundle)) as pid:
                _ask(url + asked, 2, 16, files[:16])  # each of its processes has been asked
                settle(pid)  # what starts beside it is not what an answer costs
                for clients in given.clients:
                    name = f"{server}, {clients} client{'s' * (clients > 1)}"
                    seen = table.setdefault(name, Seen())
                    _measure(seen, pid, url + asked, clients, given.num, files, bare)
        except RuntimeError as error:
            if server == "pocketlens":
                raise
            print(error, file=sys.stderr)


def _measure(
    seen: Seen,
    pid: int,
    url: str,
    clients: int,
    num: int,
    files: Sequence[Path],
    bare: dict[str, Any],
) -> None:
    requests = num * (2 if clients > 1 else 1)
    before = cpu_seconds(pid)
    found = _ask(url, clients, requests, files)
    cpu_ms = 1e3 * (cpu_seconds(pid) - before) / requests
    seen.cpu_ms.append(cpu_ms)
    seen.ratios.append(cpu_ms / bare["cpu_ms"])
    seen.rates.append(requests / found["seconds"])
    seen.latencies_ms.append(sorted(answer["latency_ms"] for answer in found["answers"]))
    seen.memory_mb = max(seen.memory_mb, memory_mb(pid))
    for answer in found["answers"]:
        if answer["error"]:
            seen.errors.append(answer["error"])
        elif answer["label"] != bare["labels"][answer["photo"]]:
            seen.errors.append(f"another answer than the predictor's to photo {answer['photo']}")


def _ask(url: str, clients: int, requests: int, files: Sequence[Path]) -> dict[str, Any]:
    command = [sys.executable, str(HERE / "_clients.py"), url, str(clients), str(requests)]
    names = "\n".join(map(str, files))
    out = subprocess.run(command, check=True, input=names, stdout=subprocess.PIPE, text=True).stdout
    found: dict[str, Any] = json.loads(out)
    return found


def _command(server: str, rivals: str, bundle: Path, place: Path, port: int) -> list[str]:
    if server != "pocketlens":
        return [rivals, str(HERE / "serve_rivals.py"), server, str(port)]
    command = [sys.executable, "-m", "pocketlens", "serve", str(bundle)]
    return [*command, "--home", str(place / "home"), "--port", str(port)]


def _environment(server: str, bundle: Path) -> dict[str, str]:
    """This process' own, and what the rivals are to serve."""
    told = {"BENCH_SERVER": server, "BENCH_BUNDLE": str(bundle), "BENTOML_DO_NOT_TRACK": "True"}
    return dict(os.environ, **told)


def _bare(bundle: Path, names: Path) -> dict[str, Any]:
    """Processor milliseconds an image and images a second of the predictor, in this process."""
    from pocketlens.core.predictor import available_cores
    from pocketlens.workflows.open import load

    photos = [Path(name).read_bytes() for name in names.read_text(encoding="utf-8").splitlines()]
    cores = available_cores()
    with load(bundle, threads=cores, streams=cores, batch_size=1) as predictor:
        predictor.predict(photos[:16])
        start, cpu = time.perf_counter(), time.process_time()
        found = predictor.predict(photos)
        cpu, seconds = time.process_time() - cpu, time.perf_counter() - start
    labels = [prediction.label for prediction in found]
    return {"cpu_ms": 1e3 * cpu / len(photos), "rate": len(photos) / seconds, "labels": labels}


def _bundle(place: Path, model: str) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    import pocketlens as pl

    torch.manual_seed(0)
    save_file(timm.create_model(model).state_dict(), place / "weights.safetensors")
    made = pl.import_model(model, out=place / "torch", weights=place / "weights.safetensors")
    return pl.export(made, runtime="onnx", out=place / "onnx").path


def _print(table: dict[str, Seen]) -> None:
    print(
        "| | CPU ms an image | against the predictor | images/s | median ms | p99 ms "
        "| p99 / median | memory MB | errors |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, seen in table.items():
        cells = [name, f"{median(seen.cpu_ms):.1f}", _spread(seen.ratios, 2), _spread(seen.rates)]
        if seen.latencies_ms:
            halves = [median(found) for found in seen.latencies_ms]
            tails = [
                found[min(len(found) - 1, int(0.99 * len(found)))] for found in seen.latencies_ms
            ]
            parts = [tail / half for tail, half in zip(tails, halves, strict=True)]
            cells += [f"{median(halves):.0f}", f"{median(tails):.0f}", _spread(parts, 1)]
            cells += [f"{seen.memory_mb:.0f}", str(len(seen.errors))]
        else:
            cells += [""] * 5
        print(f"| {' | '.join(cells)} |")
        for error in sorted(set(seen.errors))[:3]:
            print(f"{name}: {error}", file=sys.stderr)


def _spread(values: Sequence[float], digits: int = 0) -> str:
    if len(values) < 2:
        return f"{values[0]:.{digits}f}"
    return f"{mean(values):.{digits}f} ± {stdev(values):.{digits}f}"


if __name__ == "__main__":
    sys.exit(main())
