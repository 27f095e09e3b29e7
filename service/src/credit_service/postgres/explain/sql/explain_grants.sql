-- The grants $2 of account $1. None of the columns read here ever changes.
SELECT g.grant_id, g.origin::text, g.effective_at, g.expires_at
FROM unnest($2::integer []) AS asked (grant_id)
CROSS JOIN LATERAL (
    SELECT * FROM credits.grants AS g WHERE g.account_no = $1 AND g.grant_id = asked.grant_id LIMIT 1
) AS g
ORDER BY g.grant_id;
