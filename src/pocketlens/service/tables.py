"""The tables; `migrations/` brings a database to them.

Times are seconds since 1970 in UTC as floats, ids are 32 hexadecimal digits. `owner` is a user's
name; no query for a user leaves it out.
"""

from __future__ import annotations

import uuid
from typing import Final, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.types import BigInteger

State = Literal["Pending", "Running", "Done", "Failed"]
#: States that a job never leaves.
ENDED: Final[tuple[State, ...]] = ("Done", "Failed")

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: The truth about each job; the queue carries ids only.
jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # a file in service/kinds
    Column("state", String(8), nullable=False),
    Column("attempt", Integer, nullable=False, default=0),  # 0: never begun
    Column("lost", Integer, nullable=False, default=0),  # attempts whose worker fell silent
    Column("worker", String(64)),
    Column("lease_until", Float),  # while Running; past it another worker may take the job up
    Column("heartbeat_at", Float),
    Column("created_at", Float, nullable=False),
    Column("queued_at", Float),  # its id was last put into the queue
    Column("spooled_bytes", BigInteger, nullable=False, default=0),  # of what it came with
    Column("started_at", Float),  # of the current attempt
    Column("ended_at", Float),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("request", JSON, nullable=False),  # parameters and names of spooled files, no contents
    Column("progress", JSON(none_as_null=True)),  # what a client is shown while it runs
    Column("result", JSON(none_as_null=True)),
    Column("code", String(64)),  # Failed: for programs
    Column("reason", Text),  # Failed: for people; no path, no internal name
    Column("idempotency_key", String(255)),
    Column("fingerprint", String(64)),  # of the request that came with the key
    UniqueConstraint("owner", "idempotency_key"),
    Index(None, "state", "lease_until"),
    Index(None, "owner", "created_at"),
)

datasets = Table(
    "datasets",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    Column("task", String(16), nullable=False),  # single_label, multi_label
    Column("created_at", Float, nullable=False),
    Column("version", Integer, nullable=False, default=0),  # counts changes
    Column("class_info", JSON, nullable=False, default=dict),  # label -> what is known of it
    Column("check_job_id", String(32)),  # the latest job that looked at it ...
    Column("check_version", Integer),  # ... and which version it looked at
    UniqueConstraint("owner", "name"),
)

#: Labelled samples of data sets: a stored photo, or a box of one.
samples = Table(
    "samples",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("dataset_id", ForeignKey("datasets.id", ondelete="CASCADE"), nullable=False),
    Column("blob", String(80), nullable=False),  # content name in the storage, with its suffix
    # `core.dataset.identity` of the bytes as they were uploaded: what a split remembers
    Column("identity", String(255), nullable=False),
    Column("labels", JSON, nullable=False),
    Column("box", JSON),  # x, y, width, height in pixels of the upright photo
    Column("group", String(255)),
    Column("part", String(8)),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("dataset_id", "identity"),
    Index(None, "blob"),
)

#: Stored files: one row an owner and content.
blobs = Table(
    "blobs",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("name", String(80), primary_key=True),  # SHA-256 of what is stored, with a suffix
    Column("size_bytes", BigInteger, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("used_at", Float, nullable=False),  # uploaded again: counts as new
)

#: What each user stores; changed by one statement, so that a quota is never exceeded.
usage = Table(
    "usage",
    metadata,
    Column("owner", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False, default=0),
)

#: The account of what was deleted, and why.
deletions = Table(
    "deletions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("at", Float, nullable=False),
    Column("what", String(16), nullable=False),  # answers, photos, models, comparisons
    Column("why", String(16), nullable=False),  # age, quota, request
    Column("count", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Index(None, "owner", "at"),
)

models = Table(
    "models",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("state", String(10), nullable=False),  # given, offered, rejected, retired
    Column("bundle", String(255), nullable=False),  # directory under `home/models`, never shown
    Column("bundle_id", String(64), nullable=False),  # `Bundle.id`
    Column("parent_id", String(32)),  # the model that it was compared with
    Column("job_id", String(32)),
    Column("comparison_id", String(32)),
    Column("about", JSON, nullable=False),  # classes, runtime, precision, size, scores
    Column("reason", Text),  # rejected: why
    Column("retired_at", Float),  # since when nothing but this row is left of it
)

#: The model that answers: one row; `version` makes changing it atomic (compare and swap).
current = Table(
    "current",
    metadata,
    Column("slot", String(16), primary_key=True),
    Column("model_id", ForeignKey("models.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("changed_at", Float, nullable=False),
)

#: Who put which model in place of which.
promotions = Table(
    "promotions",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("model_id", String(32), nullable=False),
    Column("replaced_id", String(32)),
    Column("by", String(64), nullable=False),
    Column("at", Float, nullable=False),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("owner", String(64), nullable=False),
    Column("name", String(100), nullable=False),
    Column("created_at", Float, nullable=False),
    Column("table", JSON, nullable=False),  # as `compare.json`
    Column("job_id", String(32)),
)

#: Wall clock as maintenance last saw it: nothing is deleted where it has jumped.
clock = Table(
    "clock",
    metadata,
    Column("slot", String(16), primary_key=True),
    Column("seen_at", Float, nullable=False),
    Column("trusted_from", Float, nullable=False),
)


def new_id() -> str:
    """32 random hexadecimal digits."""
    return uuid.uuid4().hex
