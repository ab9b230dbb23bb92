"""What a service is started with; `serve` and `worker` share it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pocketlens.core.errors import UserError

#: Days after which answers are deleted, where none are named.
KEEP_ANSWERS_DAYS = 30.0

#: Pixels of one photo; beyond it a photo is refused before it is decoded.
MAX_PIXELS = 25_000_000


@dataclass(frozen=True)
class User:
    """Who a bearer token belongs to.

    Attributes:
        name: of the owner of data; `local` where no token is set.
        operator: may promote models, read `/metrics` and change what everybody is answered with.
    """

    name: str
    operator: bool = False


@dataclass(frozen=True)
class Settings:
    """All that API and workers must agree on.

    Attributes:
        home: directory of the database, of spooled requests, models and work in progress.
        database: SQLAlchemy URL; by default an SQLite file in `home`.
        queue: URL of huey's queue: `sqlite:`, `postgresql:` or `redis:`; by default beside the
            database (its own file for SQLite, its own table for PostgreSQL).
        storage: fsspec URL of photos: a directory, `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`; by
            default `home/photos`.
        tokens: SHA-256 of each bearer token in hexadecimal -> its user; empty: no token needed,
            which is allowed on the loopback address only.
        keep_days: age beyond which answers and uploads are deleted; None: answers after 30 days,
            training photos never.
        quota_bytes: of all that one user stores; None: no limit.
        max_body_bytes: of one request; `max_parts` of its multipart parts.
        max_waiting_bytes: of all that one user's jobs came with, until they have ended.
        max_pixels: of one photo.
        rate: requests a minute and user (or address, where there is no token); None: no limit.
        lease_seconds: a job whose worker gave no sign for so long is taken up by another.
        max_attempts: after so many a job is Failed.
        lanes: of `kinds.LANES` that a worker takes jobs from; empty: all.
        threads: processor threads of one call of the network; `workers` calls at a time. None:
            measured when the service starts.
        allow_urls: whether photos may be named by URL.
    """

    bundle: Path | None
    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    database: str | None = field(default=None, repr=False)  # URLs may hold passwords
    queue: str | None = field(default=None, repr=False)
    storage: str | None = field(default=None, repr=False)
    tokens: Mapping[str, User] = field(default_factory=dict, repr=False)
    keep_days: float | None = None
    quota_bytes: int | None = None
    max_body_bytes: int = 100_000_000
    max_waiting_bytes: int = 1_000_000_000
    max_parts: int = 1_000
    max_pixels: int = MAX_PIXELS
    rate: int | None = None
    read_timeout_seconds: float = 30.0
    lease_seconds: float = 60.0
    max_attempts: int = 3
    lanes: tuple[str, ...] = ()
    threads: int | None = None
    workers: int | None = None
    allow_urls: bool = False

    def __post_init__(self) -> None:
        if not self.tokens and not is_loopback(self.host):
            raise UserError(
                f"{self.host} can be reached by others, and no token is set; name a file of tokens "
                "by --tokens, or serve on 127.0.0.1"
            )

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of the database, with psycopg as the driver of PostgreSQL."""
        url = self.database or f"sqlite:///{self.home / 'pocketlens.db'}"
        for plain in ("postgresql://", "postgres://"):
            url = url.replace(plain, "postgresql+psycopg://", 1) if url.startswith(plain) else url
        return url

    @property
    def queue_url(self) -> str:
        """URL of the queue: what was named, else beside the database."""
        if self.queue is not None:
            return self.queue
        if self.database_url.startswith("postgresql"):
            return self.database_url
        return f"sqlite:///{self.home / 'queue.db'}"

    @property
    def storage_url(self) -> str:
        """fsspec URL of the place of photos."""
        return self.storage or str(self.home / "photos")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
