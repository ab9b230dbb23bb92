"""Alembic's entry: `migrate` hands it the connection."""

from alembic import context

from pocketlens.service.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
)
with context.begin_transaction():
    context.run_migrations()
