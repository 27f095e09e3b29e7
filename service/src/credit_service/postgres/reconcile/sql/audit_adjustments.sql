-- The adjustments of the given accounts.
SELECT account_no, position, amount, expires_at, operator, reason
FROM credits.adjustments
WHERE account_no = any($1::integer [])
ORDER BY account_no, position;
