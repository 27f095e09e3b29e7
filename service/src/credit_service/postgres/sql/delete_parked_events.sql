-- Takes out the parked events that were decided.
DELETE FROM credits.parked_events AS p
USING unnest($1::text [], $2::bytea []) AS leaving (account_id, key)
WHERE p.account_id = leaving.account_id AND p.key = leaving.key;
