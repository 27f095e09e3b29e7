-- The entries of the accounts numbered $1 to $2 that were recorded from $3 to before $4, each with its decision.
SELECT
    a.account_id, e.sequence, e.line, e.reason::text, e.grant_id, e.amount, e.previous_balance, e.balance,
    d.prospect_id, d.source, d.id, d.type::text, e.refunds_sequence, e.occurred_at, e.recorded_at, e.period_ends_at
FROM credits.entries AS e
-- The limits have each row looked up by its whole key, whatever the statistics say.
CROSS JOIN LATERAL (
    SELECT a.account_id FROM credits.accounts AS a WHERE a.account_no = e.account_no LIMIT 1
) AS a
LEFT JOIN LATERAL (
    SELECT d.prospect_id, d.source, d.id, d.type
    FROM credits.decisions AS d
    WHERE d.account_no = e.account_no AND d.position = e.position
    LIMIT 1
) AS d ON true
WHERE
    e.account_no BETWEEN $1 AND $2
    AND ($3::timestamptz IS NULL OR e.recorded_at >= $3)
    AND ($4::timestamptz IS NULL OR e.recorded_at < $4)
    AND ($5::text IS NULL OR e.reason::text = $5)
ORDER BY e.account_no, e.sequence, e.line;
