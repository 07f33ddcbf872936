"""Migrations of the catalog's tables, from every earlier version.

An upgrade is one transaction on SQLite and on PostgreSQL, however many migrations it runs: a
process that is killed, or a full disk, leaves the version before, and the next start upgrades
again. So a migration must hold to this:

- It neither commits nor begins a transaction, and runs nothing that cannot be in one: no PRAGMA,
  no VACUUM, no CREATE INDEX CONCURRENTLY.
- Foreign keys are not enforced on SQLite while it runs. `op.batch_alter_table` may therefore copy a
  table and drop the old one without deleting the rows that refer to it. The copy has no triggers
  and no indexes on expressions: make them again.
- Every row of the version before is there afterwards.

Migrations up to 0010 also run if a part of them is done already: SQLite was once upgraded without a
transaction, and an interrupted upgrade left such tables. Later migrations need not do so.
"""
