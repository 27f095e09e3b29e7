-- The first $3 decisions of account $1 on the prospect $2. No index has the prospect, so all decisions of the account
-- are scanned.
SELECT
    -- include decision_and_operator_columns
FROM (
    SELECT * FROM credits.decisions AS d
    WHERE d.account_no = $1 AND d.prospect_id = $2
    ORDER BY d.position
    LIMIT $3
) AS d
-- include operator_joins
ORDER BY d.position;
