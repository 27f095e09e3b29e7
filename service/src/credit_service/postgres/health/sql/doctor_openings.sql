-- The accounts whose opening is not complete, the longest open first, at most $1.
SELECT account_id, extract(EPOCH FROM credits.ledger_now() - opening_since)::float8
FROM credits.accounts
WHERE opening_since IS NOT NULL
ORDER BY opening_since
LIMIT $1;
