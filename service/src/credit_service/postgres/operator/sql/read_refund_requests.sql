-- The oldest $3 refund requests of account $1 and the status $2, null for any.
SELECT
    a.account_id, r.account_no, r.charge_sequence, credits.unpacked(r.prospect_id) AS prospect_id, r.status::text,
    r.requested_at, greatest(0, extract(EPOCH FROM credits.ledger_now() - r.requested_at))::bigint AS age_seconds,
    e.occurred_at AS charged_at, e.grant_id, g.origin::text AS grant_origin, r.decided_at, r.operator, r.reason
FROM (
    SELECT *
    FROM credits.refund_requests
    WHERE ($1::integer IS NULL OR account_no = $1) AND ($2::text IS NULL OR status = $2::credits.request_status)
    ORDER BY requested_at, account_no, charge_sequence
    LIMIT $3
) AS r
CROSS JOIN LATERAL (
    SELECT account_id FROM credits.accounts WHERE account_no = r.account_no LIMIT 1
) AS a
LEFT JOIN LATERAL (
    SELECT occurred_at, grant_id FROM credits.entries
    WHERE account_no = r.account_no AND sequence = r.charge_sequence
    ORDER BY line
    LIMIT 1
) AS e ON true
LEFT JOIN LATERAL (
    SELECT origin FROM credits.grants WHERE account_no = r.account_no AND grant_id = e.grant_id LIMIT 1
) AS g ON true
ORDER BY r.requested_at, r.account_no, r.charge_sequence;
