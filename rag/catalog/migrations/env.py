"""Runs migrations on the connection that `rag.catalog.database` passes."""

from alembic import context

from rag.catalog.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=True,  # `rag.catalog.database` has begun the transaction
)
with context.begin_transaction():
    context.run_migrations()
