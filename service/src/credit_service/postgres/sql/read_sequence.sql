-- The last sequence of an account; no row if there is no such account.
SELECT sequence
FROM credits.accounts
WHERE account_id = $1;
