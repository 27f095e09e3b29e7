-- Deletes and returns the events of the given accounts (locked before) that are parked for longer than $2, at most $3,
-- but not those of accounts that have got a plan meanwhile.
WITH expired AS (
    SELECT p.account_no, p.key
    FROM credits.parked_events AS p
    JOIN credits.accounts AS a ON a.account_no = p.account_no
    WHERE p.account_no = any($1::integer []) AND p.parked_at < credits.ledger_now() - $2::interval
        AND a.period_number IS NULL
    ORDER BY p.account_no, p.key
    LIMIT $3
),

taken AS (
    DELETE FROM credits.parked_events AS p
    USING expired
    WHERE p.account_no = expired.account_no AND p.key = expired.key
    RETURNING p.*
),

counted AS (
    UPDATE credits.accounts AS a
    SET parked = a.parked - gone.events
    FROM (SELECT account_no, count(*)::integer AS events FROM taken GROUP BY account_no) AS gone
    WHERE a.account_no = gone.account_no
)

SELECT account_no, key, content, source, id, type::text, occurred_at, data, partition, "offset"
FROM taken;
