"""What a score's name is made of, whether it is of clear pictures alone, and one spelling of anonymize. `History` derives the rows from the documents again."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = ("scenario", "metric", "subset")


def upgrade() -> None:
    """Add the columns, to an empty table, and rename one."""
    with op.batch_alter_table("results") as table:
        table.alter_column("anonymised", new_column_name="anonymized")
    op.execute("DELETE FROM scores")
    with op.batch_alter_table("scores") as table:
        for name in _TEXTS:
            table.add_column(sa.Column(name, sa.Text(), nullable=False))
        table.add_column(sa.Column("clear_only", sa.Boolean(), nullable=False))


def downgrade() -> None:
    """Drop them, and name the other as it was."""
    with op.batch_alter_table("results") as table:
        table.alter_column("anonymized", new_column_name="anonymised")
    with op.batch_alter_table("scores") as table:
        for name in (*_TEXTS, "clear_only"):
            table.drop_column(name)
