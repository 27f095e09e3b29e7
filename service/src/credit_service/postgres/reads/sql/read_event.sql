-- The decision or the parked event under one idempotency key.
SELECT
    a.account_id, d.source, credits.unpacked(d.id) AS id, d.type::text, d.occurred_at, d.partition, d."offset",
    d.outcome::text, d.position, d.decided_at, credits.unpacked(d.prospect_id) AS prospect_id, d.declined_in_period,
    d.note, NULL::timestamptz AS parked_at
FROM credits.accounts AS a
JOIN credits.decisions AS d ON d.account_no = a.account_no
WHERE a.account_id = $1 AND d.key = $2
UNION ALL
SELECT
    a.account_id, p.source, p.id, p.type::text, p.occurred_at, p.partition, p."offset",
    NULL, NULL, NULL, NULL, NULL, NULL, p.parked_at
FROM credits.accounts AS a
JOIN credits.parked_events AS p ON p.account_no = a.account_no
WHERE a.account_id = $1 AND p.key = $2;
