-- All entries of the given accounts.
SELECT
    account_no, sequence, line, grant_id, amount, previous_balance, balance, reason::text, position, refunds_sequence,
    period_ends_at, occurred_at, recorded_at
FROM credits.entries
WHERE account_no = any($1::integer [])
ORDER BY account_no, sequence, line;
