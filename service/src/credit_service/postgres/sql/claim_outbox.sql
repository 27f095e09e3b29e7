-- Claims the oldest rows, up to $2 and about $3 bytes, under a new id, and returns them: values larger than $4 bytes
-- and keys larger than $5 by size and hash, headers that are kept in more than $6 not at all. Headers that are
-- compressed count a hundredfold, and at most $6, since more is not returned: to know it would be to unpack those of
-- all rows.
WITH oldest AS MATERIALIZED (
    SELECT
        o.outbox_id, o.topic, o.key, o.event_id, o.event_time, o.payload, o.trace, o.dead_letter_id,
        coalesce(octet_length(o.key), 0) + coalesce(octet_length(o.payload), octet_length(d.value), 0)
        + CASE
            WHEN d.headers IS NULL THEN 0
            WHEN pg_column_compression(d.headers) IS NULL THEN pg_column_size(d.headers)
            ELSE least(100::bigint * pg_column_size(d.headers), $6)
        END AS size
    FROM credits.outbox AS o
    LEFT JOIN credits.dead_letters AS d USING (dead_letter_id)
    ORDER BY o.outbox_id
    LIMIT $2
),

sized AS MATERIALIZED (
    SELECT *, sum(size) OVER (ORDER BY outbox_id) - size AS bytes_before
    FROM oldest
),

claim AS (
    INSERT INTO credits.outbox_claim (claim_id, outbox_ids, claimed_at)
    SELECT $1, array_agg(outbox_id ORDER BY outbox_id), credits.ledger_now()
    FROM sized
    WHERE bytes_before < $3
    HAVING count(*) > 0
    RETURNING claim_id
)

SELECT
    c.claim_id, o.topic, o.event_id, o.event_time, o.payload, o.trace,
    d.topic AS origin_topic, d.partition, d."offset", d.reason, d.detail, d.created_at,
    CASE WHEN octet_length(o.key) <= $5 THEN o.key END AS key,
    octet_length(o.key) AS key_bytes,
    CASE WHEN octet_length(o.key) > $5 THEN encode(sha256(o.key), 'hex') END AS key_sha256,
    CASE WHEN octet_length(d.value) <= $4 THEN d.value END AS value,
    coalesce(octet_length(d.value), d.value_bytes) AS value_bytes,
    encode(CASE WHEN octet_length(d.value) > $4 THEN sha256(d.value) ELSE d.value_sha256 END, 'hex') AS value_sha256,
    CASE WHEN octet_length(d.headers::text) <= $6 THEN d.headers::text ELSE '[]' END AS headers
FROM claim AS c
CROSS JOIN sized AS o
LEFT JOIN LATERAL (
    -- What the relay's role may see of a letter.
    SELECT topic, partition, "offset", reason, detail, created_at, headers, value, value_bytes, value_sha256
    FROM credits.dead_letters
    WHERE dead_letter_id = o.dead_letter_id
    LIMIT 1
) AS d ON true
WHERE o.bytes_before < $3
ORDER BY o.outbox_id;
