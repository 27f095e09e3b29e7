-- The refund requests of account $1 that the decisions $2 opened.
SELECT
    r.charge_sequence, r.position, r.status::text, r.requested_at, r.decided_position, r.decided_at, r.operator,
    r.reason AS why
FROM credits.refund_requests AS r
WHERE r.account_no = $1 AND r.position = ANY($2::integer [])
ORDER BY r.position, r.charge_sequence;
