-- The refund requests of the given accounts that an operator decided.
SELECT account_no, charge_sequence, status::text, decided_position, operator, reason
FROM credits.refund_requests
WHERE account_no = any($1::integer []) AND decided_position IS NOT NULL
ORDER BY account_no, charge_sequence;
