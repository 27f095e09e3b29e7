-- Stores each undecided record once, and publishes it once. A dead letter that was retried, parked, and not decided
-- then, waits again: with its bytes, which may have been erased since, and is published again. Beyond $18 bytes of a
-- topic and day, a dead letter that can be read again from Kafka is stored without its bytes, and with a key of up to
-- $19 bytes; so is a withheld one, which is too large. Returns the count of these by topic.
WITH told AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::text [], $2::integer [], $3::bigint [], $4::bytea [], $5::text [], $6::text [], $7::text [],
        $8::bytea [], $9::bytea [], $10::text [], $11::bigint [], $12::bytea [], $13::boolean [], $14::bigint [],
        $15::bigint [], $16::bytea []
    ) AS l (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms,
        content_sha256, is_withheld, key_bytes, value_bytes, value_sha256
    )
),

-- Stored dead letters, as in a replay, take no bytes again.
new AS MATERIALIZED (
    SELECT
        told.*,
        sum(sized.bytes) OVER (PARTITION BY told.topic) AS of_topic,
        sum(sized.bytes) OVER (PARTITION BY told.topic ORDER BY told.partition, told."offset") AS up_to
    FROM told
    CROSS JOIN LATERAL (
        SELECT coalesce(octet_length(key), 0) + coalesce(octet_length(value), 0) + octet_length(headers) AS bytes
    ) AS sized
    WHERE NOT EXISTS (
        SELECT FROM credits.dead_letters AS d
        WHERE d.topic = told.topic AND d.partition = told.partition AND d."offset" = told."offset"
            AND d.digest = told.digest AND (d.status <> 'resolved' OR d.outcome <> 'parked')
    )
),

-- All transactions lock these rows after the accounts, in order of the topics, and no other shared row after them.
spent AS (
    INSERT INTO credits.dead_letter_bytes AS b (topic, day, bytes)
    SELECT DISTINCT topic, (credits.ledger_now() AT TIME ZONE 'UTC')::date, of_topic
    FROM new
    ORDER BY topic
    ON CONFLICT (topic, day) DO UPDATE SET bytes = b.bytes + excluded.bytes
    RETURNING topic, bytes
),

left_out AS MATERIALIZED (
    SELECT
        new.*,
        new.is_withheld
        OR new.content_sha256 IS NOT NULL AND spent.bytes - new.of_topic + new.up_to > $18 AS is_left_out
    FROM new
    JOIN spent USING (topic)
),

judged AS MATERIALIZED (
    SELECT
        topic, partition, "offset", digest, reason, detail, account_id, timestamp_ms,
        CASE WHEN NOT is_left_out OR octet_length(key) <= $19 THEN key END AS key,
        CASE WHEN NOT is_left_out THEN value END AS value,
        CASE WHEN is_left_out THEN '[]' ELSE headers END::json AS headers,
        CASE WHEN is_left_out THEN content_sha256 END AS content_sha256,
        CASE
            WHEN is_withheld THEN key_bytes
            WHEN is_left_out AND octet_length(key) > $19 THEN octet_length(key)
        END AS key_bytes,
        CASE WHEN is_withheld THEN value_bytes WHEN is_left_out THEN octet_length(value) END AS value_bytes,
        CASE WHEN is_withheld THEN value_sha256 WHEN is_left_out THEN sha256(value) END AS value_sha256
    FROM left_out
),

kept AS (
    INSERT INTO credits.dead_letters (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms, created_at,
        content_sha256, key_bytes, value_bytes, value_sha256
    )
    SELECT
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms,
        credits.ledger_now(), content_sha256, key_bytes, value_bytes, value_sha256
    FROM judged
    ORDER BY topic, partition, "offset"
    ON CONFLICT (topic, partition, "offset", digest) DO NOTHING
    RETURNING dead_letter_id, topic, key, content_sha256
),

-- No upsert, which would lock every conflicting row after the account; a retry locks them in the opposite order.
reopened AS (
    UPDATE credits.dead_letters AS d
    SET
        status = 'waiting', outcome = NULL, ended_at = NULL, operator = NULL, comment = NULL,
        reason = judged.reason, detail = judged.detail, key = judged.key, value = judged.value,
        headers = judged.headers, erased_at = NULL, erased_by = NULL, created_at = credits.ledger_now(),
        content_sha256 = judged.content_sha256, key_bytes = judged.key_bytes, value_bytes = judged.value_bytes,
        value_sha256 = judged.value_sha256
    FROM judged
    WHERE d.topic = judged.topic AND d.partition = judged.partition AND d."offset" = judged."offset"
        AND d.digest = judged.digest AND d.status = 'resolved' AND d.outcome = 'parked'
    RETURNING d.dead_letter_id, d.topic, d.key, d.content_sha256
),

to_publish AS (
    SELECT * FROM kept
    UNION ALL
    SELECT * FROM reopened
),

published AS (
    INSERT INTO credits.outbox (topic, key, dead_letter_id)
    SELECT $17, key, dead_letter_id
    FROM to_publish
    ORDER BY dead_letter_id
)

SELECT topic, count(*)
FROM to_publish
WHERE content_sha256 IS NOT NULL
GROUP BY topic;
