-- The count of accounts with a due timer, up to $1, and the age of the oldest timer.
SELECT count(*), extract(EPOCH FROM credits.ledger_now() - min(next_timer_at))::float8
FROM (
    SELECT next_timer_at FROM credits.accounts
    WHERE next_timer_at <= credits.ledger_now() AND opening_since IS NULL
    ORDER BY next_timer_at
    LIMIT $1
) AS due;
