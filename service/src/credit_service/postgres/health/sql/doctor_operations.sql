-- The latest $1 operations without an end.
SELECT operation_id, kind, operator, extract(EPOCH FROM credits.ledger_now() - started_at)::float8
FROM credits.operations
WHERE ended_at IS NULL
ORDER BY operation_id DESC
LIMIT $1;
