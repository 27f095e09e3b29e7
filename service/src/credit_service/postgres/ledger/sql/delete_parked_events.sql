-- Deletes parked events that were decided.
DELETE FROM credits.parked_events AS p
USING unnest($1::integer [], $2::bytea []) AS leaving (account_no, key)
WHERE p.account_no = leaving.account_no AND p.key = leaving.key;
