"""The database: SQLite in a file, or PostgreSQL by URL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, create_engine, event


def open_database(url: str) -> Engine:
    """An engine whose transactions are serialised where they write.

    SQLite is opened with a write-ahead log (readers don't wait for a writer), foreign keys, and
    transactions that take the write lock when they begin, so that two that read and then write
    can't both believe what they read.
    """
    if not url.startswith("sqlite"):
        return create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=8)
    engine = create_engine(url, connect_args={"timeout": 30, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # sqlite3 must not begin by itself; `_begin` does
        for line in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {line}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
