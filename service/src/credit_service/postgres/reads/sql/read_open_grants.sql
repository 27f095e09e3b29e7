-- The open grants of an account, in the order in which they burn.
SELECT grant_id, origin::text, amount, remaining, effective_at, expires_at
FROM credits.grants
WHERE account_no = $1 AND open
ORDER BY expires_at NULLS LAST, effective_at, grant_id;
