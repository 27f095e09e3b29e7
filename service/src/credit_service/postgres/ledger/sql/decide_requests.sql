-- Stores operators' decisions on refund requests.
UPDATE credits.refund_requests AS r
SET
    status = decided.status::credits.request_status,
    decided_position = decided.position,
    decided_at = $7,
    operator = decided.operator,
    reason = decided.reason
FROM unnest($1::integer [], $2::integer [], $3::text [], $4::integer [], $5::text [], $6::text []) AS decided (
    account_no, charge_sequence, status, position, operator, reason
)
WHERE r.account_no = decided.account_no AND r.charge_sequence = decided.charge_sequence;
