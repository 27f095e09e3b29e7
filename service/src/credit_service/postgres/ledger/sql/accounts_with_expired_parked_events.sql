-- Accounts without a plan that have events parked for longer than $1, the longest first, of the partition numbers $4 of
-- $3. Parked events of an account with a plan only wait for their turn.
SELECT DISTINCT account_id
FROM (
    SELECT a.account_id
    FROM credits.parked_events AS p
    JOIN credits.accounts AS a ON a.account_no = p.account_no
    WHERE p.parked_at < credits.ledger_now() - $1::interval AND a.period_number IS NULL
        AND a.partition_hash % $3 = any($4::integer [])
    ORDER BY p.parked_at
    LIMIT $2
) AS longest;
