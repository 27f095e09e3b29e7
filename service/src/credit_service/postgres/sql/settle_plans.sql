-- Plans whose time has come wait no longer; what they left out is now known.
UPDATE credits.plans AS p
SET pending = false, seats = settled.seats, email_accounts = settled.email_accounts
FROM unnest($1::text [], $2::bigint [], $3::bigint [], $4::bigint []) AS settled (
    account_id, position, seats, email_accounts
)
WHERE p.account_id = settled.account_id AND p.position = settled.position;
