-- Accounts that have their first plan and still have events parked, and of which no more is to be opened first.
SELECT account_id
FROM credits.accounts
WHERE parked > 0 AND period_number IS NOT NULL AND opening_since IS NULL
LIMIT $1;
