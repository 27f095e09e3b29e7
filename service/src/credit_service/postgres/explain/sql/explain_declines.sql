-- The last $3 declines among the first $2 decisions of account $1, the last one first.
SELECT
    d.position, d.type::text, d.outcome::text, d.source, d.id, d.prospect_id, d.occurred_at, d.decided_at,
    d.declined_in_period, d.period_ends_at, d.note, d.partition, d."offset"
FROM credits.decisions AS d
WHERE d.account_no = $1 AND d.position <= $2 AND d.outcome = 'declined'
ORDER BY d.position DESC
LIMIT $3::bigint;
