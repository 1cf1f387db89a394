"""Alembic's door. The connection, inside the caller's transaction, comes from `dp2bench.engine.history`."""

from alembic import context

from dp2bench.engine.history import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters tables only by copying them
)
context.run_migrations()
