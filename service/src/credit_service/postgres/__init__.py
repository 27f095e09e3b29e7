"""The ledger in Postgres: one statement a file in `sql/`, the schema in `migrations/`."""
