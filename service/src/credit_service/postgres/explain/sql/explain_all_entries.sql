-- The entries of the first $2 balance changes of account $1, ordered by grant.
SELECT
    -- include entry_columns
FROM (
    SELECT * FROM credits.entries AS e
    WHERE e.account_no = $1 AND e.sequence <= $2
    ORDER BY e.grant_id, e.sequence, e.line
) AS e
-- include entry_joins
ORDER BY e.grant_id, e.sequence, e.line;
