-- The balance changes of account $1 from sequence $2 to $3, each with the decision that caused it.
SELECT
    e.sequence, e.reason::text, e.occurred_at, d.position, d.type::text, d.outcome::text,
    d.occurred_at AS cause_occurred_at, d.prospect_id
FROM credits.entries AS e
CROSS JOIN LATERAL (
    SELECT * FROM credits.decisions AS d WHERE d.account_no = e.account_no AND d.position = e.position LIMIT 1
) AS d
WHERE e.account_no = $1 AND e.sequence BETWEEN $2 AND $3 AND e.line = 0
ORDER BY e.sequence;
