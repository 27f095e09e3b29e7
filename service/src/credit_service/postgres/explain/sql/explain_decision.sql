-- The decision of account $1 on a key, and who ordered it if a person did.
SELECT
    -- include decision_and_operator_columns
FROM credits.decisions AS d
-- include operator_joins
WHERE d.account_no = $1 AND d.key = $2;
