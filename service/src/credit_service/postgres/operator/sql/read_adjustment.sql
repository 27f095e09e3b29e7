-- The balance change of the adjustment under one idempotency key, searched from the newest on.
SELECT
    j.amount, j.expires_at, j.operator, j.reason, e.previous_balance, e.balance, e.sequence, e.recorded_at
FROM credits.accounts AS a
CROSS JOIN LATERAL (
    SELECT position FROM credits.decisions WHERE account_no = a.account_no AND key = $2 LIMIT 1
) AS d
CROSS JOIN LATERAL (
    SELECT * FROM credits.adjustments AS kept WHERE kept.account_no = a.account_no AND kept.position = d.position LIMIT 1
) AS j
CROSS JOIN LATERAL (
    SELECT * FROM credits.entries AS of_account
    WHERE of_account.account_no = a.account_no AND of_account.position = d.position
        AND of_account.reason = 'adjustment'
    ORDER BY of_account.sequence DESC
    LIMIT 1
) AS e
WHERE a.account_id = $1;
