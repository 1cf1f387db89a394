"""Results with their documents, and scores."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "results",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False, unique=True),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("dataset", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("main_score", sa.Text()),
        sa.Column("dp2bench", sa.Text()),
        sa.Column("git_commit", sa.Text()),
        sa.Column("git_dirty", sa.Boolean()),
        sa.Column("people", sa.BigInteger()),
        sa.Column("anonymised", sa.BigInteger()),
    )
    op.create_index("results_by_name", "results", ["task", "method", "dataset", "recorded_at"])
    op.create_table(
        "scores",
        sa.Column(
            "result_id", sa.Integer(), sa.ForeignKey("results.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("name", sa.Text(), primary_key=True),
        sa.Column("value", sa.Double(), nullable=False),
        sa.Column("unit", sa.Text(), nullable=False),
        sa.Column("higher_is_better", sa.Boolean(), nullable=False),
        sa.Column("n", sa.BigInteger(), nullable=False),
        sa.Column("chance", sa.Double()),
        sa.Column("low", sa.Double()),
        sa.Column("high", sa.Double()),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("scores")
    op.drop_table("results")
