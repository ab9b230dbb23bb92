"""Jobs while their workers are killed: none is lost, none ends twice.

`python benchmarks/job_kills.py [--jobs 1000] [--kills 20] [--workers 1]`. Workers get
SIGKILL at random moments and are started again; a trigger of the database notes each end of a job,
so that "twice" would be seen. Exit 1 where a job was lost or ended twice.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _audit import begin_audit, ends, has_worked, num_ended
from pocketlens.service import jobs, kinds
from pocketlens.service.queue import open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.supervise import to_json
from pocketlens.service.worker_process import open_migrated

HERE = Path(__file__).parent
#: Short, so that killed jobs are soon taken up again.
LEASE_SECONDS = 1.0


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--database", help="URL of an empty PostgreSQL database; default: SQLite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=600, help="give up after so many")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(
            None,
            Path(home),
            database=chosen.database,
            lease_seconds=LEASE_SECONDS,
            workers=4,
        )
        found = run(settings, chosen)
    print(json.dumps(found, indent=1))
    sys.exit(1 if found["never"] or found["twice"] or found["wrong"] else 0)


def run(settings: Settings, chosen: argparse.Namespace) -> dict[str, Any]:
    """Submit the jobs, kill the workers, count."""
    rng = random.Random(chosen.seed)
    kinds.__path__.append(str(HERE / "_job_kinds"))
    engine, queue = open_migrated(settings), open_queue(settings)
    begin_audit(engine)
    answers: dict[str, int] = {}
    # How many jobs have ended when a worker is killed.
    moments = sorted(rng.randrange(chosen.jobs * 9 // 10) for _ in range(chosen.kills))
    began = time.monotonic()
    kills = 0

    def ask() -> None:
        lengths = random.Random(chosen.seed + 1)
        for number in range(chosen.jobs):
            seconds = lengths.choice((0.0, 0.002, 0.01, 0.05, 0.2))
            with engine.begin() as connection:
                request = {"answer": number, "seconds": seconds}
                job, _ = jobs.submit(connection, "ann", "nap", request, now=time.time())
            answers[job.id] = number
            queue.put(job.id, "nap")

    with ExitStack() as stack:
        workers = [stack.enter_context(Worker(settings)) for _ in range(chosen.workers)]
        asking = threading.Thread(target=ask)
        asking.start()
        stack.callback(asking.join)
        while (ended := num_ended(engine)) < chosen.jobs:
            if time.monotonic() - began > chosen.seconds:
                break
            if kills < len(moments) and ended >= moments[kills]:
                at_work = [w for w in workers if has_worked(engine, w.process.pid)]
                if at_work:  # to kill one that is starting would prove nothing
                    time.sleep(rng.random() * 0.1)
                    rng.choice(at_work).kill()
                    kills += 1
            time.sleep(0.005)
    found = asdict(ends(engine, answers, settings.max_attempts))
    engine.dispose()
    queue.close()
    return {
        "database": settings.database_url.partition(":")[0],
        "workers": chosen.workers,
        "jobs": len(answers),
        "kills": kills,
        **found,
        "seconds": round(time.monotonic() - began, 1),
    }


class Worker:
    """A process that is started again where it was killed."""

    def __init__(self, settings: Settings) -> None:
        self._settings = to_json(settings)

    def __enter__(self) -> Worker:
        command = [sys.executable, str(HERE / "_job_worker.py")]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        assert self.process.stdin is not None
        self.process.stdin.write(self._settings + "\n")
        self.process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        self.process.wait()

    def kill(self) -> None:
        """SIGKILL, and the next one begins."""
        self.process.kill()
        self.__exit__()
        self.__enter__()


if __name__ == "__main__":
    main()
