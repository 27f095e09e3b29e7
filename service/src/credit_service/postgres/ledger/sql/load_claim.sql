-- The claim and its rows; one row without a topic if all rows are gone. Values larger than $1 bytes, keys larger than
-- $2 and headers that are stored in more than $3 are returned as size and hash.
SELECT
    c.claim_id, o.outbox_id, o.topic, o.event_id, o.event_time, o.payload, o.trace,
    d.topic AS origin_topic, d.partition, d."offset", d.reason, d.detail, d.created_at,
    CASE WHEN octet_length(o.key) <= $2 THEN o.key END AS key,
    octet_length(o.key) AS key_bytes,
    CASE WHEN octet_length(o.key) > $2 THEN encode(sha256(o.key), 'hex') END AS key_sha256,
    CASE WHEN octet_length(d.value) <= $1 THEN d.value END AS value,
    coalesce(octet_length(d.value), d.value_bytes) AS value_bytes,
    encode(CASE WHEN octet_length(d.value) > $1 THEN sha256(d.value) ELSE d.value_sha256 END, 'hex') AS value_sha256,
    CASE WHEN octet_length(d.headers::text) <= $3 THEN d.headers::text END AS headers,
    octet_length(d.headers::text) AS headers_bytes,
    CASE WHEN octet_length(d.headers::text) > $3 THEN encode(sha256(convert_to(d.headers::text, 'UTF8')), 'hex') END
        AS headers_sha256
FROM credits.outbox_claim AS c
LEFT JOIN LATERAL unnest(c.outbox_ids) AS claimed (outbox_id) ON true
LEFT JOIN credits.outbox AS o ON o.outbox_id = claimed.outbox_id
LEFT JOIN credits.dead_letters AS d ON d.dead_letter_id = o.dead_letter_id
ORDER BY o.outbox_id;
