-- How many accounts have a timer that is due, up to $1, and since when the oldest.
SELECT count(*), extract(EPOCH FROM credits.ledger_now() - min(next_timer_at))::float8
FROM (
    SELECT next_timer_at FROM credits.accounts
    WHERE next_timer_at <= credits.ledger_now() AND opening_since IS NULL
    ORDER BY next_timer_at
    LIMIT $1
) AS due;
