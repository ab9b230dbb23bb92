"""The process of a worker: opens what it needs, works until it is told to stop.

`pocketlens worker` runs it, and so does `pocketlens serve`, as a child process: that one gives the
settings as a line on standard input, and stops it by closing that.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import TypeVar

from sqlalchemy import Engine

from pocketlens.core.errors import UserError
from pocketlens.service import log_lines, maintenance
from pocketlens.service.clocks import uptime
from pocketlens.service.database import is_unavailable, masked, open_database
from pocketlens.service.migrate import migrate
from pocketlens.service.models import Models
from pocketlens.service.queue import open_queue
from pocketlens.service.settings import Settings
from pocketlens.service.storage import open_storage
from pocketlens.service.supervise import from_json
from pocketlens.service.worker import Parts, StuckError, run_worker

T = TypeVar("T")

#: How long a worker waits for a database that starts at the same time, in seconds.
PATIENCE_SECONDS = 30.0

# Not `__name__`: as a child of `serve` this is `__main__`, whose words nobody wants to hear.
log = logging.getLogger("pocketlens.service.worker_process")


def work(settings: Settings, stop: threading.Event | None = None) -> None:
    """Work on jobs until a signal comes, or `stop` is set.

    Raises:
        UserError: the database or the queue can't be reached, or the storage can't be opened.
    """
    stop = stop or threading.Event()
    _listen(stop)
    log_lines.set_up()
    database = open_migrated(settings)
    storage = open_storage(settings.storage_url)
    queue = _patiently(lambda: open_queue(settings), "the queue can't be reached")
    models = Models(settings, database, storage)
    parts = Parts(settings, database, queue, storage, models)

    def tend() -> None:
        done = maintenance.tend(settings, database, storage, time.time(), uptime())
        if done.is_something:
            log.info("maintenance deleted what was old or lost: %s", done)

    try:
        run_worker(parts, stop, tend=tend)
    except StuckError:
        log.exception("this process ends, so that the next one begins without that job")
        os._exit(1)  # in order it can't: it would wait for the job
    finally:
        models.close()
        queue.close()
        database.dispose()


def open_migrated(settings: Settings) -> Engine:
    """The settings' database with its tables; waits a while for one that starts up.

    Raises:
        UserError: it can't be reached.
    """
    database = open_database(settings.database_url)
    where = masked(settings.database_url)
    _patiently(lambda: migrate(database), f"the database {where} can't be reached")
    return database


def _patiently(work: Callable[[], T], complaint: str) -> T:
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return work()
        except Exception as error:
            if not is_unavailable(error):
                raise
            if time.monotonic() > until:
                raise UserError(f"{complaint}; start it, or mend its address") from error
            log.warning("%s yet", complaint)
            time.sleep(0.5)


def _listen(stop: threading.Event) -> None:
    """The first signal asks for an end, the second makes it."""

    def heard(number: int, _frame: FrameType | None) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)


def main() -> None:
    """As a child of `serve`."""
    settings = from_json(_first_line())
    stop = threading.Event()

    def watch() -> None:
        with suppress(OSError):
            while os.read(0, 1):
                pass
        stop.set()
        # The parent has gone: nobody is left to end a worker that hangs.
        time.sleep(60.0)
        os._exit(1)

    threading.Thread(target=watch, name="parent", daemon=True).start()
    try:
        work(settings, stop)
    except UserError as error:
        sys.exit(f"pocketlens: {error}")


def _first_line() -> str:
    # Not by `sys.stdin`: Python can't end while a thread waits in it.
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65_536)
        if not more:
            sys.exit(0)  # the parent has gone already
        line += more
    return line.decode()


if __name__ == "__main__":
    main()
