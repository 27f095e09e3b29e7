-- Accounts with events that have been parked for longer than $1, the longest first.
SELECT DISTINCT account_id
FROM (
    SELECT account_id
    FROM credits.parked_events
    WHERE parked_at < credits.ledger_now() - $1::interval
    ORDER BY parked_at
    LIMIT $2
) AS longest;
