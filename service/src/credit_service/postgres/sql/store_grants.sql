-- Writes back the grants that were there before and were touched.
UPDATE credits.grants AS g
SET amount = new.amount, remaining = new.remaining, open = new.open
FROM unnest($1::text [], $2::integer [], $3::bigint [], $4::bigint [], $5::boolean []) AS new (
    account_id, grant_id, amount, remaining, open
)
WHERE g.account_id = new.account_id AND g.grant_id = new.grant_id;
