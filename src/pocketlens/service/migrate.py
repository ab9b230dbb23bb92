"""Bring a database to the tables of this version."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, inspect, text

from pocketlens.core.errors import UserError

#: Of PostgreSQL's advisory lock; any number that nothing else in the database takes.
_LOCK: Final = 7_078_655
_PLACE: Final = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Make or change the tables, in one transaction; what is there already stays.

    API and workers may all call it at the same time: one does it, the others wait.

    Raises:
        UserError: a newer pocketlens has changed the tables to what this one doesn't know.
    """
    from alembic import command
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    config = configuration()
    with engine.begin() as connection:  # SQLite: this takes the write lock
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:id)"), {"id": _LOCK})
        if version(connection) == ScriptDirectory.from_config(config).get_current_head():
            return
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise UserError(
                "the database was made by a newer pocketlens; update this one, or name another "
                "--database"
            ) from error


def configuration() -> Any:
    """Alembic's, without a file."""
    from alembic.config import Config

    config = Config()
    # Paths may hold a percent sign, which the configuration would read as its own.
    config.set_main_option("script_location", str(_PLACE).replace("%", "%%"))
    return config


def version(connection: Connection) -> str | None:
    """The version of the tables that are there; None for an empty database."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version"))
    return found.scalar_one_or_none()
