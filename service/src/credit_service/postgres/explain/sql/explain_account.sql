-- An account with the time of its first decision, and the clock.
SELECT
    a.account_no, a.account_id, a.unlimited, a.sequence, a.position, d.decided_at AS first_decided_at,
    credits.ledger_now() AS now
FROM credits.accounts AS a
LEFT JOIN credits.decisions AS d ON d.account_no = a.account_no AND d.position = 1
WHERE a.account_id = $1;
