-- The entries of the $3 balance changes after sequence $2, each with the decision that caused it. Sequences have no
-- gaps, so a page is a range of the primary key.
SELECT
    e.sequence, e.line, e.grant_id, e.amount, e.previous_balance, e.balance, e.reason::text, e.refunds_sequence,
    e.period_ends_at, e.occurred_at, e.recorded_at, d.source, d.id, d.type::text, d.prospect_id
FROM credits.entries AS e
JOIN credits.decisions AS d ON d.account_id = e.account_id AND d.position = e.position
WHERE e.account_id = $1 AND e.sequence > $2 AND e.sequence <= $2 + $3
ORDER BY e.sequence, e.line;
