-- Updates known grants that have changed.
UPDATE credits.grants AS g
SET amount = new.amount, remaining = new.remaining, open = new.open
FROM unnest($1::integer [], $2::integer [], $3::bigint [], $4::bigint [], $5::boolean []) AS new (
    account_no, grant_id, amount, remaining, open
)
WHERE g.account_no = new.account_no AND g.grant_id = new.grant_id;
