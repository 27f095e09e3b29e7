-- Plans whose time has come wait no longer.
UPDATE credits.plans AS p
SET pending = false
FROM unnest($1::text [], $2::bigint []) AS settled (account_id, position)
WHERE p.account_id = settled.account_id AND p.position = settled.position;
