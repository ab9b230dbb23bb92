"""The queue: ids of jobs that wait for a worker, in huey's storages.

The queue is no truth: what it loses, the sweep finds in the table of jobs, and an id that comes
twice is claimed once. So it holds ids as plain text, nothing is serialised and nothing is
executed. Each lane is a queue of its own, so that what takes hours doesn't hold up what takes
milliseconds.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from huey import storage as storages
from huey.storage import BaseStorage

from pocketlens.core.errors import UserError
from pocketlens.extras import require
from pocketlens.service import kinds
from pocketlens.service.database import is_unavailable
from pocketlens.service.settings import Settings

_ID: Final = re.compile(rb"[0-9a-f]{32}")
#: Seconds between two looks at an SQLite queue: at first, and after a while without jobs.
_FIRST_LOOK, _LAST_LOOK = 0.002, 0.05
#: How long a Redis may take to answer; a `get` waits for an id in steps of one second.
_REDIS_SECONDS: Final = 3.0

log = logging.getLogger(__name__)


class Queue:
    """Ids of waiting jobs; one object for all threads of a process."""

    def __init__(self, lanes: Mapping[str, BaseStorage]) -> None:
        self._lanes = lanes

    def put(self, id: str, kind: str) -> bool:
        """Put an id behind the others of its lane.

        Call it after the row was committed. False where the queue can't be reached: the sweep of
        a worker will find the job.
        """
        try:
            self._lanes[kinds.lane(kind)].enqueue(id.encode("ascii"))
        except Exception as error:
            if not is_unavailable(error):
                raise
            log.warning("the queue is out of reach, the sweep will find job %s", id)
            return False
        return True

    def get(self, lane: str, timeout: float, stop: threading.Event | None = None) -> str | None:
        """The next id of a lane; None where none came in time, or `stop` was set."""
        storage = self._lanes[lane]
        deadline = time.monotonic() + timeout
        pause = _FIRST_LOOK
        while stop is None or not stop.is_set():
            data = storage.dequeue()
            if data is not None:
                found = bytes(data)
                if _ID.fullmatch(found):
                    return found.decode("ascii")
                log.warning("something that is no id lay in the queue, and was thrown away")
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                return None
            if not getattr(storage, "blocking", False):  # others have waited in `dequeue`
                time.sleep(min(pause, left))
                pause = min(2 * pause, _LAST_LOOK)
        return None

    def size(self) -> int:
        """Ids that wait, of all lanes."""
        return sum(int(storage.queue_size()) for storage in self._lanes.values())

    def close(self) -> None:
        """Let go of connections."""
        for storage in self._lanes.values():
            storage.close()


def open_queue(settings: Settings) -> Queue:
    """The queue that the settings name; by default beside the database.

    Raises:
        UserError: no URL of a queue that is known here, or its driver isn't installed.
    """
    url = settings.queue_url
    return Queue({lane: _open(url, f"pocketlens_{lane}") for lane in kinds.LANES})


def _open(url: str, name: str) -> BaseStorage:
    scheme, _, rest = url.partition(":")
    if scheme == "sqlite" and rest.startswith("///") and len(rest) > 3:
        path = Path(rest.removeprefix("///"))
        path.absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _SqliteStorage(name, filename=str(path), strict_fifo=True)
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        require("psycopg", extra="postgres")
        return _PostgresStorage(name, dsn=f"postgresql:{rest}", connect_timeout=5)
    if scheme in ("redis", "rediss", "unix"):
        redis = require("redis", extra="redis")
        patience = {"socket_timeout": _REDIS_SECONDS}
        if scheme != "unix":
            patience["socket_connect_timeout"] = _REDIS_SECONDS
        pool = redis.ConnectionPool.from_url(url, **patience)  # what the URL says counts
        return storages.RedisStorage(name, connection_pool=pool, read_timeout=1)
    raise UserError(  # the URL may hold a password: it isn't repeated
        "--queue is no URL of a queue that is known here; write sqlite:////DIR/FILE.db, "
        "postgresql://USER:PASSWORD@HOST/NAME or redis://HOST:6379/0"
    )


class _SqliteStorage(storages.SqliteStorage):  # type: ignore[misc]
    """Without waiting for the disk at each id: a lost id is found again."""

    def _create_connection(self) -> Any:
        connection = super()._create_connection()
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection


class _PostgresStorage(storages.PostgresStorage):  # type: ignore[misc]
    """Which makes its tables though another process does so at the same moment."""

    def initialize_schema(self) -> None:
        with self.db(commit=True, close=True) as cursor:
            cursor.execute("select pg_advisory_xact_lock(7078656)")
            for line in self.ddl:
                cursor.execute(line)
