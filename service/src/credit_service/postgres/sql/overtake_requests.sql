-- Refund requests whose credit was given back before anybody decided.
UPDATE credits.refund_requests AS r
SET status = 'overtaken', decided_at = $3
FROM unnest($1::text [], $2::bigint []) AS overtaken (account_id, charge_sequence)
WHERE r.account_id = overtaken.account_id AND r.charge_sequence = overtaken.charge_sequence AND r.status = 'waiting';
