"""Models are retired: since when."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Change the tables."""
    op.add_column("models", sa.Column("retired_at", sa.Float(), nullable=True))


def downgrade() -> None:
    """Change them back; which models are retired stays known."""
    op.drop_column("models", "retired_at")
