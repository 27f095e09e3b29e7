-- What became of one idempotency key: its decision, or that it is parked.
SELECT
    account_id, source, id, type::text, occurred_at, partition, "offset",
    outcome::text, position, decided_at, prospect_id, declined_in_period, note, NULL::timestamptz AS parked_at
FROM credits.decisions
WHERE account_id = $1 AND key = $2
UNION ALL
SELECT
    account_id, source, id, type::text, occurred_at, partition, "offset",
    NULL, NULL, NULL, NULL, NULL, NULL, parked_at
FROM credits.parked_events
WHERE account_id = $1 AND key = $2;
