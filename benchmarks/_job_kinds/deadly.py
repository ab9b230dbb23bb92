"""A job that kills the process that runs it."""

import os
import signal
from typing import Any

from pocketlens.service.context import Context
from pocketlens.service.jobs import Job


def run(job: Job, context: Context) -> Any:
    """As a fault in native code would."""
    os.kill(os.getpid(), signal.SIGKILL)
