"""A database of a service for one test: SQLite in a file, or a schema of its own in PostgreSQL."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from pocketlens.service.settings import Settings

#: For `pytest.mark.parametrize("kind", KINDS)`.
KINDS = (
    "sqlite",
    pytest.param(
        "postgresql",
        marks=pytest.mark.skipif(
            not os.environ.get("POCKETLENS_POSTGRES"),
            reason="needs PostgreSQL: set POCKETLENS_POSTGRES to the URL of a database",
        ),
    ),
)


@contextmanager
def database_url(kind: str, place: Path) -> Iterator[str]:
    """URL of an empty database, which is gone afterwards."""
    if kind == "sqlite":
        yield f"sqlite:///{place / 'test.db'}"
        return
    given = os.environ["POCKETLENS_POSTGRES"]
    plain = Settings(bundle=None, home=place, database=given).database_url
    schema = f"t{uuid.uuid4().hex}"
    engine = create_engine(plain)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        joiner = "&" if "?" in given else "?"
        yield f"{given}{joiner}options=-csearch_path%3D{schema}"
    finally:
        with engine.begin() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        engine.dispose()


class FakeStorage:
    """Private files in a dictionary."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def put_private(self, name: str, content: bytes) -> None:
        self.files[name] = content

    def get_private(self, name: str) -> bytes:
        try:
            return self.files[name]
        except KeyError:
            raise FileNotFoundError(name) from None

    def delete_private(self, name: str) -> None:
        self.files.pop(name, None)


def until(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a condition; it fails after a deadline."""
    stop = threading.Event()
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it didn't come about in time"
        stop.wait(0.01)
