-- Claims the oldest rows, up to $2 and about $3 bytes, under the new id $1, and returns them. Values larger than $4
-- bytes, keys larger than $5 and headers that are stored in more than $6 are returned as size and hash. Compressed
-- headers count a hundredfold, because their true size would take unpacking those of all rows. The topics $7, the rows
-- $8 and the events of the keys $9 are left out. Events of accounts with rows that are set aside are returned but not
-- claimed: they wait. is_cut: the limit of bytes left rows out.
WITH oldest AS MATERIALIZED (
    SELECT
        o.outbox_id, o.topic, o.key, o.event_id, o.event_time, o.payload, o.trace, o.dead_letter_id,
        coalesce(octet_length(o.key), 0) + coalesce(octet_length(o.trace), 0)
        + coalesce(octet_length(o.payload), octet_length(d.value), 0)
        + CASE
            WHEN d.headers IS NULL THEN 0
            WHEN pg_column_compression(d.headers) IS NULL THEN pg_column_size(d.headers)
            ELSE 100::bigint * pg_column_size(d.headers)
        END AS size,
        CASE
            -- Evaluated once, and nearly always false.
            WHEN (SELECT EXISTS (SELECT FROM credits.outbox_set_aside)) THEN
                -- Not EXISTS: a join, or a hash of all waiting rows, would cost as much as there are of them.
                o.dead_letter_id IS NULL AND (
                    SELECT true FROM credits.outbox_set_aside AS s
                    WHERE s.dead_letter_id IS NULL AND s.key = o.key
                    LIMIT 1
                ) IS NOT NULL
            ELSE false
        END AS waits
    FROM credits.outbox AS o
    LEFT JOIN credits.dead_letters AS d USING (dead_letter_id)
    -- A CASE, because the planner would otherwise expect no row to be left.
    WHERE CASE
        WHEN o.topic = any($7::text []) OR o.outbox_id = any($8::bigint []) THEN false
        ELSE o.dead_letter_id IS NOT NULL OR o.key <> all($9::bytea [])
    END
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
    WHERE bytes_before < $3 AND NOT waits
    HAVING count(*) > 0
)

SELECT
    (SELECT max(bytes_before) >= $3 FROM sized) AS is_cut,
    o.waits, o.outbox_id, o.topic, o.event_id, o.event_time, o.payload, o.trace,
    d.topic AS origin_topic, d.partition, d."offset", d.reason, d.detail, d.created_at,
    CASE WHEN octet_length(o.key) <= $5 THEN o.key END AS key,
    octet_length(o.key) AS key_bytes,
    CASE WHEN octet_length(o.key) > $5 THEN encode(sha256(o.key), 'hex') END AS key_sha256,
    CASE WHEN octet_length(d.value) <= $4 THEN d.value END AS value,
    coalesce(octet_length(d.value), d.value_bytes) AS value_bytes,
    encode(CASE WHEN octet_length(d.value) > $4 THEN sha256(d.value) ELSE d.value_sha256 END, 'hex') AS value_sha256,
    CASE WHEN octet_length(d.headers) <= $6 THEN d.headers END AS headers,
    octet_length(d.headers) AS headers_bytes,
    CASE WHEN octet_length(d.headers) > $6 THEN encode(sha256(convert_to(d.headers, 'UTF8')), 'hex') END
        AS headers_sha256
FROM sized AS o
LEFT JOIN LATERAL (
    -- The columns of a dead letter that the relay's role may read.
    SELECT
        topic, partition, "offset", reason, detail, created_at, headers::text AS headers, value, value_bytes,
        value_sha256
    FROM credits.dead_letters
    WHERE dead_letter_id = o.dead_letter_id
    LIMIT 1
) AS d ON true
WHERE o.bytes_before < $3
ORDER BY o.outbox_id;
