"""A job that sleeps: its request says for how many seconds, and what to answer."""

import time
from typing import Any

from pocketlens.service.context import Context
from pocketlens.service.jobs import Job


def run(job: Job, context: Context) -> Any:
    """Sleep in short pieces, with a sign of life between them."""
    until = time.monotonic() + job.request.get("seconds", 0.0)
    while (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.05))
        context.beat(None)
    return {"answer": job.request.get("answer")}
