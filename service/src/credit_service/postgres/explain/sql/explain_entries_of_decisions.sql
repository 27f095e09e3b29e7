-- The entries that the decisions $3 of account $1 caused, among its balance changes from $4 to $2. No index has the
-- decision, so these are scanned.
SELECT
    -- include entry_columns
FROM (
    SELECT * FROM credits.entries AS e
    WHERE e.account_no = $1 AND e.sequence BETWEEN $4 AND $2 AND e.position = ANY($3::integer [])
    ORDER BY e.sequence, e.line
    LIMIT $5
) AS e
-- include entry_joins
ORDER BY e.sequence, e.line;
