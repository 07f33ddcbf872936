"""What the modules of tables share."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()


def scope_columns() -> tuple[sa.Column[str], sa.Column[str]]:
    """Returns the columns of a scope, as a part of the key."""
    return (
        sa.Column("tenant", sa.String, primary_key=True),
        sa.Column("collection", sa.String, primary_key=True),
    )
