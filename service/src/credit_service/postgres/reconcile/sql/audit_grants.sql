-- All grants of the given accounts.
SELECT account_no, grant_id, origin::text, amount, remaining, effective_at, expires_at, position, open
FROM credits.grants
WHERE account_no = any($1::integer [])
ORDER BY account_no, grant_id;
