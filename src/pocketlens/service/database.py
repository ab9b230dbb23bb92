"""The database: SQLite in a file, or PostgreSQL by URL.

`with engine.begin() as connection` is a transaction that writes, `with reading(engine) as
connection` one that doesn't. Where the database can't be used at the moment, what they raise
`is_unavailable`.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, TimeoutError

from pocketlens.core.errors import UserError
from pocketlens.extras import require

#: How long a statement waits for another process that writes to SQLite, in seconds.
BUSY_SECONDS: Final = 5.0

#: What SQLite says where a file is locked, can't be reached, or has no room; other errors, such
#: as a table that isn't there, are faults of ours.
_SQLITE_PASSING: Final = frozenset(
    (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_PROTOCOL,
    )
)
#: PostgreSQL's `disk_full`.
_POSTGRES_FULL: Final = "53100"
_READS: Final = "pocketlens_reads"


def open_database(url: str, *, busy_seconds: float = BUSY_SECONDS) -> Engine:
    """An engine whose transactions are serialised where they write.

    SQLite is opened with a write-ahead log (readers don't wait for a writer), foreign keys, and
    writing transactions that take the write lock when they begin, so that two that read and then
    write can't both believe what they read. Its directory is made, for its owner alone.

    Args:
        url: as SQLAlchemy reads it.
        busy_seconds: how long to wait for another writer of SQLite.

    Raises:
        UserError: no URL of a database that is known here, or its driver isn't installed.
    """
    parsed = _parsed(url)
    options: dict[str, Any] = {
        "hide_parameters": True,  # errors are logged, and no log holds what users sent
        "json_serializer": _to_json,
        "pool_size": 8,
        "max_overflow": 24,
    }
    if parsed.get_backend_name() == "postgresql":
        require("psycopg", extra="postgres")
        # A connection that a restart has cut is found out before it is used.
        timeout = {} if "connect_timeout" in parsed.query else {"connect_timeout": 5}
        return create_engine(parsed, pool_pre_ping=True, connect_args=timeout, **options)
    if parsed.database:
        Path(parsed.database).absolute().parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    arguments = {"timeout": busy_seconds, "check_same_thread": False}
    engine = create_engine(parsed, connect_args=arguments, **options)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin by itself; `_begin` does
        _write_ahead(connection, busy_seconds)
        for line in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        reads = connection.get_execution_options().get(_READS, False)
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A connection for a transaction that reads only; it waits for no writer."""
    with engine.connect() as connection:
        yield connection.execution_options(**{_READS: True})


def masked(url: str) -> str:
    """A URL without its password, for messages and logs."""
    return _parsed(url).render_as_string(hide_password=True)


def is_unavailable(error: BaseException) -> bool:
    """Whether a database or queue can't be used at the moment, and may be again: 503.

    Locked, restarted, out of reach, out of room or out of connections; not what a statement of
    ours does wrong.
    """
    if isinstance(error, TimeoutError):  # no connection became free
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated:
            return True
        error = error.orig or error
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _SQLITE_PASSING
    # Other drivers may not be installed, so their errors are known by their names.
    names = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__}
    return bool(
        names
        & {
            ("psycopg", "OperationalError"),
            ("psycopg", "InterfaceError"),
            ("redis", "ConnectionError"),
            ("redis", "TimeoutError"),
            ("redis", "BusyLoadingError"),
        }
    )


def is_full(error: BaseException) -> bool:
    """Whether the database's disk has no room: 507, as asking again at once helps nobody.

    That it `is_unavailable` is true too: there may be room later.
    """
    original = (error.orig or error) if isinstance(error, DBAPIError) else error
    if isinstance(original, sqlite3.Error):
        return (getattr(original, "sqlite_errorcode", 0) & 0xFF) == sqlite3.SQLITE_FULL
    return getattr(original, "sqlstate", None) == _POSTGRES_FULL


def _parsed(url: str) -> URL:
    # The message never repeats the URL, which may hold a password.
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        parsed = None
    if parsed is None or parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise UserError(
            "--database is no URL of a database that is known here; write sqlite:////DIR/FILE.db "
            "or postgresql://USER:PASSWORD@HOST/NAME"
        )
    return parsed


def _to_json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def _write_ahead(connection: Any, busy_seconds: float) -> None:
    """Turn the write-ahead log on, once for ever; SQLite doesn't wait for others by itself here."""
    deadline = time.monotonic() + busy_seconds
    while True:
        try:
            [mode] = connection.execute("PRAGMA journal_mode").fetchone()
            if mode not in ("wal", "memory"):
                connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if not is_unavailable(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)
