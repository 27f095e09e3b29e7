-- The entries of the $3 balance changes after sequence $2, each with the decision that caused it. Sequences have no
-- gaps, so a page is a range of the primary key.
SELECT
    e.sequence, e.line, e.grant_id, e.amount, e.previous_balance, e.balance, e.reason::text, e.refunds_sequence,
    e.period_ends_at, e.occurred_at, e.recorded_at, d.source, credits.unpacked(d.id) AS id,
    d.type::text, credits.unpacked(d.prospect_id) AS prospect_id
FROM credits.entries AS e
JOIN credits.decisions AS d ON d.account_no = e.account_no AND d.position = e.position
WHERE e.account_no = $1 AND e.sequence > $2::bigint AND e.sequence <= $2::bigint + $3
ORDER BY e.sequence, e.line;
