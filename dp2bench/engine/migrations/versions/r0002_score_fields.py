"""What a score's name is made of, and whether it is of clear pictures alone. `History` derives the rows from the documents again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = ("scenario", "metric", "subset")


def upgrade() -> None:
    """Add the columns, to an empty table."""
    op.execute("DELETE FROM scores")
    with op.batch_alter_table("scores") as table:
        for name in _TEXTS:
            table.add_column(sa.Column(name, sa.Text(), nullable=False))
        table.add_column(sa.Column("clear_only", sa.Boolean(), nullable=False))


def downgrade() -> None:
    """Drop them."""
    with op.batch_alter_table("scores") as table:
        for name in (*_TEXTS, "clear_only"):
            table.drop_column(name)
