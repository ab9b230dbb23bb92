"""The database: who waits for whom, what is unavailable, and how its tables are made."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from pocketlens.core.errors import UserError
from pocketlens.service.database import is_unavailable, masked, open_database, reading
from pocketlens.service.migrate import configuration, migrate, version
from pocketlens.service.settings import Settings
from pocketlens.service.tables import metadata, models, usage
from support.databases import KINDS, database_url

ROW = {"owner": "ann", "size_bytes": 1}


@pytest.fixture(params=KINDS)
def url(request: Any, tmp_path: Path) -> Iterator[str]:
    with database_url(request.param, tmp_path) as given:
        yield Settings(bundle=None, home=tmp_path, database=given).database_url


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    opened = open_database(url, busy_seconds=0.2)
    yield opened
    opened.dispose()


def test_the_tables_are_those_that_the_code_speaks_of(engine: Engine) -> None:
    """Where this fails: `python scripts/migration.py "what changes"`."""
    migrate(engine)
    with engine.begin() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, metadata) == []
        assert version(connection) is not None


def test_migrating_again_keeps_what_is_there(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(insert(usage), ROW)
    migrate(engine)
    with reading(engine) as connection:
        assert connection.scalar(select(usage.c.size_bytes)) == 1


def test_rows_of_the_first_version_live_on(engine: Engine) -> None:
    """To the version in which models are retired, and back."""
    model = {
        "id": "a" * 32, "owner": "ann", "created_at": 1.0, "state": "offered", "bundle": "x",
        "bundle_id": "y", "about": {},
    }  # fmt: skip
    config = configuration()

    def go(verb: Any, to: str) -> set[str]:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            verb(config, to)
            return {column["name"] for column in inspect(connection).get_columns("models")}

    assert "retired_at" not in go(command.upgrade, "0001")
    with engine.begin() as connection:
        connection.execute(insert(models), model)
    migrate(engine)
    with engine.begin() as connection:
        [row] = connection.execute(select(models)).mappings()
        assert row == model | dict.fromkeys(set(row) - set(model))
        connection.execute(models.update().values(state="retired", retired_at=2.0))
    assert "retired_at" not in go(command.downgrade, "0001")
    with engine.begin() as connection:
        assert version(connection) == "0001"
        assert connection.scalar(select(models.c.state)) == "retired"
    migrate(engine)


def test_several_processes_migrate_at_once(url: str) -> None:
    code = (
        "import sys; from pocketlens.service import database, migrate; "
        "migrate.migrate(database.open_database(sys.argv[1]))"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
    with reading(open_database(url)) as connection:
        assert version(connection) is not None


def test_tables_of_a_newer_version_are_refused(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(UserError, match="newer pocketlens"):
        migrate(engine)


def test_nothing_of_a_migration_that_fails_is_left(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("in the middle")

    with monkeypatch.context() as patched:
        patched.setattr("alembic.operations.ops.CreateIndexOp.create_index", broken)
        with pytest.raises(RuntimeError, match="in the middle"):
            migrate(engine)
    with reading(engine) as connection:
        assert version(connection) is None
    migrate(engine)


def test_reading_waits_for_no_writer(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as writer:
        writer.execute(insert(usage), ROW)
        began = time.monotonic()
        with reading(engine) as connection:
            assert connection.scalar(select(usage.c.size_bytes)) is None
        assert time.monotonic() - began < 0.15


def test_two_that_read_and_then_write_are_one_after_the_other(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path / 'one.db'}")
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(insert(usage), ROW)

    def add() -> None:
        for _ in range(20):
            with engine.begin() as connection:
                value = connection.scalar(select(usage.c.size_bytes))
                connection.execute(usage.update().values(size_bytes=value + 1))

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as connection:
        assert connection.scalar(select(usage.c.size_bytes)) == 81


def test_a_database_that_another_process_has_locked(tmp_path: Path) -> None:
    path = tmp_path / "one.db"
    engine = open_database(f"sqlite:///{path}", busy_seconds=0.1)
    migrate(engine)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(OperationalError) as raised, engine.begin():
        pass
    assert is_unavailable(raised.value)
    other.execute("ROLLBACK")
    with engine.begin() as connection:
        connection.execute(insert(usage), ROW)


def test_what_is_wrong_with_a_statement_is_no_unavailability(engine: Engine) -> None:
    with pytest.raises(DBAPIError) as raised, reading(engine) as connection:
        connection.execute(text("SELECT * FROM nowhere"))
    assert not is_unavailable(raised.value)
    assert not is_unavailable(ValueError("database is locked"))


def test_a_server_that_is_not_there() -> None:
    engine = open_database("postgresql+psycopg://ann:secret@127.0.0.1:1/x")
    with pytest.raises(OperationalError) as raised, engine.begin():
        pass
    assert is_unavailable(raised.value)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["mysql://a:secret@b/c", "nonsense:secret", "", "postgresql://:x:y"]
)
def test_a_url_that_is_none_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(UserError, match="--database") as raised:
        open_database(url)
    assert "secret" not in str(raised.value)


def test_urls_are_shown_without_password() -> None:
    assert masked("postgresql://ann:secret@host/x") == "postgresql://ann:***@host/x"
    settings = Settings(
        bundle=None, home=Path("x"), database="postgresql://a:secret@h/x", queue="redis://:secret@h"
    )
    assert "secret" not in repr(settings)


def test_the_directory_of_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    migrate(open_database(f"sqlite:///{tmp_path / 'new' / 'home' / 'one.db'}"))
    assert (tmp_path / "new" / "home").stat().st_mode & 0o077 == 0


def test_errors_hold_no_parameters(engine: Engine) -> None:
    migrate(engine)
    with pytest.raises(DBAPIError) as raised, engine.begin() as connection:
        connection.execute(insert(usage), {"owner": "very-secret", "size_bytes": None})
    assert "parameters hidden" in str(raised.value)
