-- All purchases of the given accounts.
SELECT account_no, position, purchase_id
FROM credits.purchases
WHERE account_no = any($1::integer [])
ORDER BY account_no, position;
