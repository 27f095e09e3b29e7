-- The decision of account $1 on a key, and who ordered it if a person did.
SELECT
    d.position, d.type::text, d.outcome::text, d.source, d.id, d.prospect_id, d.occurred_at, d.decided_at,
    d.declined_in_period, d.period_ends_at, d.note, d.partition, d."offset", coalesce(a.operator, r.operator) AS operator, coalesce(a.reason, r.reason) AS why
FROM credits.decisions AS d
LEFT JOIN credits.adjustments AS a ON a.account_no = d.account_no AND a.position = d.position
LEFT JOIN LATERAL (
    SELECT * FROM credits.refund_requests AS r
    WHERE r.account_no = d.account_no AND r.decided_position = d.position AND d.source = '/credit-service'
    LIMIT 1
) AS r ON true
WHERE d.account_no = $1 AND d.key = $2;
