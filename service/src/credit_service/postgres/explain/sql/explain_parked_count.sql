-- The count of events of account $1 that were parked by $2.
SELECT count(*)
FROM credits.parked_events AS p
WHERE p.account_no = $1 AND p.parked_at <= $2;
