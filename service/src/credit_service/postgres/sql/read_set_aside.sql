-- The set-aside rows, oldest first: all, or the rows $1; at most $2; with the count of rows that wait behind each, up
-- to $3.
SELECT
    s.outbox_id, s.topic, s.event_id, s.dead_letter_id, convert_from(s.account, 'UTF8') AS account_id, s.cause,
    s.set_aside_at, extract(EPOCH FROM credits.ledger_now() - s.set_aside_at)::float8 AS age_seconds,
    (
        SELECT count(*)
        FROM (
            SELECT FROM credits.outbox_set_aside AS w WHERE w.dead_letter_id IS NULL AND w.key = s.account AND w.cause IS NULL
            LIMIT $3
        ) AS counted
    ) AS waiting
FROM (
    SELECT *, CASE WHEN dead_letter_id IS NULL THEN key END AS account
    FROM credits.outbox_set_aside
    WHERE cause IS NOT NULL AND ($1::bigint [] IS NULL OR outbox_id = any($1))
    ORDER BY outbox_id
    LIMIT $2
) AS s
ORDER BY s.outbox_id;
