-- Keeps each record that was not decided, once, and has it published once.
WITH kept AS (
    INSERT INTO credits.dead_letters (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms, created_at
    )
    SELECT
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers::json, timestamp_ms,
        credits.ledger_now()
    FROM unnest(
        $1::text [], $2::integer [], $3::bigint [], $4::bytea [], $5::text [], $6::text [], $7::text [],
        $8::bytea [], $9::bytea [], $10::text [], $11::bigint []
    ) AS l (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms
    )
    ORDER BY topic, partition, "offset"
    ON CONFLICT (topic, partition, "offset", digest) DO NOTHING
    RETURNING dead_letter_id, key
)
INSERT INTO credits.outbox (topic, key, dead_letter_id)
SELECT $12, key, dead_letter_id
FROM kept
ORDER BY dead_letter_id;
