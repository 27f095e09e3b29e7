-- Accounts with a first plan, parked events, and a complete opening.
SELECT account_id
FROM credits.accounts
WHERE parked > 0 AND period_number IS NOT NULL AND opening_since IS NULL
LIMIT $1;
