-- Ends refund requests whose credit was given back before a decision.
-- The condition is on decided_at, not on status: by status the planner may scan all waiting requests.
UPDATE credits.refund_requests AS r
SET status = 'overtaken', decided_at = $3
FROM unnest($1::integer [], $2::integer []) AS overtaken (account_no, charge_sequence)
WHERE r.account_no = overtaken.account_no AND r.charge_sequence = overtaken.charge_sequence AND r.decided_at IS NULL;
