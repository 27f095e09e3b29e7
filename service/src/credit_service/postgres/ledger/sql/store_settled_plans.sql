-- Stores plans that have taken effect as no longer pending, with the values that they left out.
UPDATE credits.plans AS p
SET pending = false, seats = settled.seats, email_accounts = settled.email_accounts
FROM unnest($1::integer [], $2::integer [], $3::bigint [], $4::bigint []) AS settled (
    account_no, position, seats, email_accounts
)
WHERE p.account_no = settled.account_no AND p.position = settled.position;
