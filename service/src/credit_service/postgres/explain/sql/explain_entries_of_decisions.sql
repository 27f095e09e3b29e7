-- The entries that the given decisions of account $1 caused, among its balance changes from $4 to $2. No index has
-- the decision, so they are gone through.
SELECT
    e.sequence, e.line, e.grant_id, e.reason::text, e.amount, e.previous_balance, e.balance,
    e.occurred_at AS entry_occurred_at, e.recorded_at, e.refunds_sequence, charged.grant_id AS charged_grant_id,
    given.sequence AS refund_sequence, given.grant_id AS refund_grant_id, d.position, d.type::text, d.outcome::text,
    d.source, d.id, d.prospect_id, d.occurred_at, d.decided_at, d.declined_in_period, d.period_ends_at, d.note,
    d.partition, d."offset", coalesce(a.operator, r.operator) AS operator, coalesce(a.reason, r.reason) AS why
FROM (
    SELECT * FROM credits.entries AS e
    WHERE e.account_no = $1 AND e.sequence BETWEEN $4 AND $2 AND e.position = ANY($3::integer [])
    ORDER BY e.sequence, e.line
    LIMIT $5
) AS e
-- The limits have each row looked up by its whole key, whatever the statistics say.
CROSS JOIN LATERAL (
    SELECT * FROM credits.decisions AS d WHERE d.account_no = e.account_no AND d.position = e.position LIMIT 1
) AS d
LEFT JOIN LATERAL (
    SELECT c.grant_id FROM credits.entries AS c
    WHERE c.account_no = e.account_no AND c.sequence = e.refunds_sequence
    LIMIT 1
) AS charged ON true
LEFT JOIN LATERAL (
    SELECT c.sequence, c.grant_id FROM credits.entries AS c
    WHERE c.account_no = e.account_no AND c.refunds_sequence = e.sequence AND e.reason = 'charge' AND c.sequence <= $2
    LIMIT 1
) AS given ON true
LEFT JOIN LATERAL (
    SELECT * FROM credits.adjustments AS a
    WHERE a.account_no = e.account_no AND a.position = e.position
    LIMIT 1
) AS a ON true
LEFT JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS r
    WHERE
        r.account_no = e.account_no AND r.charge_sequence = e.refunds_sequence
        AND r.decided_position = e.position
    LIMIT 1
) AS r ON true
ORDER BY e.sequence, e.line;
