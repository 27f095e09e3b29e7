-- An account with a decision or a parked event under the key $1. No index has the key alone, so each account is looked
-- up.
SELECT a.account_id
FROM credits.accounts AS a
CROSS JOIN LATERAL (
    (SELECT 1 FROM credits.decisions AS d WHERE d.account_no = a.account_no AND d.key = $1 LIMIT 1)
    UNION ALL
    (SELECT 1 FROM credits.parked_events AS p WHERE p.account_no = a.account_no AND p.key = $1 LIMIT 1)
    LIMIT 1
) AS k
LIMIT 1;
