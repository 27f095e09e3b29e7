-- The last $3 declines among the first $2 decisions of account $1, newest first.
SELECT
    -- include decision_columns
FROM credits.decisions AS d
WHERE d.account_no = $1 AND d.position <= $2 AND d.outcome = 'declined'
ORDER BY d.position DESC
LIMIT $3::bigint;
