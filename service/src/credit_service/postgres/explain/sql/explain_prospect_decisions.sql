-- The first $3 decisions of account $1 on a prospect. No index has the prospect, so all of the account are gone through.
SELECT
    d.position, d.type::text, d.outcome::text, d.source, d.id, d.prospect_id, d.occurred_at, d.decided_at,
    d.declined_in_period, d.period_ends_at, d.note, d.partition, d."offset", coalesce(a.operator, r.operator) AS operator, coalesce(a.reason, r.reason) AS why
FROM (
    SELECT * FROM credits.decisions AS d
    WHERE d.account_no = $1 AND d.prospect_id = $2
    ORDER BY d.position
    LIMIT $3
) AS d
LEFT JOIN credits.adjustments AS a ON a.account_no = d.account_no AND a.position = d.position
LEFT JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS r
    WHERE r.account_no = d.account_no AND r.decided_position = d.position AND d.source = '/credit-service'
    LIMIT 1
) AS r ON true
ORDER BY d.position;
