-- The decision or the parked event under each of the given keys; a parked event has no position.
SELECT asked.nth, k.content, k.type::text, k.partition, k."offset", k.position
FROM unnest($1::text [], $2::bytea []) WITH ORDINALITY AS asked (account_id, key, nth)
-- The limits have each row looked up by its whole key, also by a plan that was made while the tables were empty.
CROSS JOIN LATERAL (
    SELECT account_no FROM credits.accounts WHERE account_id = asked.account_id LIMIT 1
) AS a
CROSS JOIN LATERAL (
    (
        SELECT d.content, d.type, d.partition, d."offset", d.position
        FROM credits.decisions AS d
        WHERE d.account_no = a.account_no AND d.key = asked.key
        LIMIT 1
    )
    UNION ALL
    (
        SELECT p.content, p.type, p.partition, p."offset", NULL
        FROM credits.parked_events AS p
        WHERE p.account_no = a.account_no AND p.key = asked.key
        LIMIT 1
    )
    LIMIT 1
) AS k;
