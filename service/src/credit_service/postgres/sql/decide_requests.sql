-- What a person made of refund requests.
UPDATE credits.refund_requests AS r
SET
    status = decided.status::credits.request_status,
    decided_position = decided.position,
    decided_at = $7,
    operator = decided.operator,
    reason = decided.reason
FROM unnest($1::text [], $2::bigint [], $3::text [], $4::bigint [], $5::text [], $6::text []) AS decided (
    account_id, charge_sequence, status, position, operator, reason
)
WHERE r.account_id = decided.account_id AND r.charge_sequence = decided.charge_sequence;
