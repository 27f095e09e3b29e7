-- The number of an account and its last sequence; no row if there is no such account.
SELECT account_no, sequence
FROM credits.accounts
WHERE account_id = $1;
