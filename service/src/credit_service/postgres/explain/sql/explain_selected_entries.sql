-- For each of the grants $3 (null: entries without a grant), among the first $2 balance changes of account $1: the
-- first entry and the last $6. The entries of a grant lie close together, so a scan from the last one finds them soon.
SELECT
    -- include entry_columns
FROM unnest($3::integer [], $4::integer [], $5::integer []) AS asked (grant_id, first, last)
CROSS JOIN LATERAL (
    (
        SELECT * FROM credits.entries AS e
        WHERE
            e.account_no = $1 AND e.sequence BETWEEN asked.first AND asked.last
            AND e.grant_id IS NOT DISTINCT FROM asked.grant_id
        ORDER BY e.sequence, e.line
        LIMIT 1
    )
    UNION
    (
        SELECT * FROM credits.entries AS e
        WHERE
            e.account_no = $1 AND e.sequence BETWEEN asked.first AND asked.last
            AND e.grant_id IS NOT DISTINCT FROM asked.grant_id
        ORDER BY e.sequence DESC, e.line DESC
        LIMIT $6
    )
) AS e
-- include entry_joins
ORDER BY e.grant_id, e.sequence, e.line;
