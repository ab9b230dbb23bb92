"""What the durable path costs beside the work itself: jobs that do nothing, one worker.

`python benchmarks/job_rate.py [--jobs 2000] [--database URL] [--profile]`. CPU time is of the
process that submits and of the one that works, each on its own clock.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from pocketlens.service import jobs, kinds, spool
from pocketlens.service.queue import open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.storage import open_storage
from pocketlens.service.worker import Parts, run_worker
from pocketlens.service.worker_process import open_migrated

HERE = Path(__file__).parent


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--files", type=int, default=1, help="spooled files a job, of 100 KB")
    parser.add_argument("--profile", action="store_true", help="show where the worker's time goes")
    chosen = parser.parse_args()
    kinds.__path__.append(str(HERE / "_job_kinds"))
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(None, Path(home), database=chosen.database, workers=chosen.workers)
        print(json.dumps(measure(settings, chosen), indent=1))


def measure(settings: Settings, chosen: argparse.Namespace) -> dict[str, Any]:
    """Submit all, then work on all, each timed."""
    engine = open_migrated(settings)
    storage = open_storage(settings.storage_url)
    parts = Parts(settings, engine, open_queue(settings), storage, None)
    photo = b"x" * 100_000
    submitted = Timed()
    for number in range(chosen.jobs):
        id = f"{number:032x}"
        names = spool.put(storage, id, [photo] * chosen.files) if chosen.files else []
        with engine.begin() as connection:
            request = {"answer": number, "files": names}
            jobs.submit(connection, "ann", "nap", request, now=time.time(), id=id)
        parts.queue.put(id, "nap")
    submit = submitted.a_job(chosen.jobs)

    stop = threading.Event()
    profile = cProfile.Profile()

    def watch() -> None:
        while parts.queue.size():
            time.sleep(0.05)
        stop.set()

    worked = Timed()
    threading.Thread(target=watch).start()
    if chosen.profile:
        _profile_threads(profile)
    run_worker(parts, stop)
    work = worked.a_job(chosen.jobs)
    if chosen.profile:
        pstats.Stats(*_profiles).sort_stats("tottime").print_stats(28)
    return {
        "database": engine.dialect.name,
        "jobs": chosen.jobs,
        "workers": chosen.workers,
        "submit": submit,
        "work": work,
    }


class Timed:
    """Wall and CPU time of this process since it was made."""

    def __init__(self) -> None:
        self._began = time.monotonic(), time.process_time()

    def a_job(self, num: int) -> dict[str, float]:
        """Milliseconds a job, and jobs a second."""
        wall, cpu = time.monotonic() - self._began[0], time.process_time() - self._began[1]
        return {"cpu_ms": round(1e3 * cpu / num, 3), "jobs_a_second": round(num / wall)}


_profiles: list[cProfile.Profile] = []


def _profile_threads(_: cProfile.Profile) -> None:
    run = threading.Thread.run

    def profiled(self: threading.Thread) -> None:
        if not self.name.startswith("quick-0"):
            run(self)
            return
        mine = cProfile.Profile()
        _profiles.append(mine)
        mine.runcall(run, self)

    threading.Thread.run = profiled  # type: ignore[method-assign]


if __name__ == "__main__":
    main()
