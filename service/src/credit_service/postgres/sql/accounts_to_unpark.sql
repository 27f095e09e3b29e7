-- Accounts that have their first plan and still have events parked.
SELECT account_id
FROM credits.accounts
WHERE parked > 0 AND period_number IS NOT NULL
LIMIT $1;
