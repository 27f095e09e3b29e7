"""The ledger in Postgres: each statement in a file in `sql/`, the schema in `migrations/`."""
