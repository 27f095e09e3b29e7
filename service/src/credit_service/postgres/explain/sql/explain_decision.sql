-- The decision of account $1 on the key $2, with the operator who ordered it.
SELECT
    -- include decision_and_operator_columns
FROM credits.decisions AS d
-- include operator_joins
WHERE d.account_no = $1 AND d.key = $2;
