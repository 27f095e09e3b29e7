-- Takes out the events of the given accounts (locked before) that have been parked for longer than $2, at most $3.
-- Not those of accounts whose plan has come meanwhile.
WITH expired AS (
    SELECT p.account_id, p.key
    FROM credits.parked_events AS p
    JOIN credits.accounts AS a ON a.account_id = p.account_id
    WHERE p.account_id = any($1::text []) AND p.parked_at < credits.ledger_now() - $2::interval
        AND a.period_number IS NULL
    ORDER BY p.account_id, p.key
    LIMIT $3
),

taken AS (
    DELETE FROM credits.parked_events AS p
    USING expired
    WHERE p.account_id = expired.account_id AND p.key = expired.key
    RETURNING p.*
),

counted AS (
    UPDATE credits.accounts AS a
    SET parked = a.parked - gone.events
    FROM (SELECT account_id, count(*)::integer AS events FROM taken GROUP BY account_id) AS gone
    WHERE a.account_id = gone.account_id
)

SELECT account_id, key, content, source, id, type::text, occurred_at, data, partition, "offset"
FROM taken;
