-- Refund requests whose credit was given back before anybody decided.
-- (Asked by decided_at, which says the same: by status, the planner may go through all that wait.)
UPDATE credits.refund_requests AS r
SET status = 'overtaken', decided_at = $3
FROM unnest($1::integer [], $2::integer []) AS overtaken (account_no, charge_sequence)
WHERE r.account_no = overtaken.account_no AND r.charge_sequence = overtaken.charge_sequence AND r.decided_at IS NULL;
