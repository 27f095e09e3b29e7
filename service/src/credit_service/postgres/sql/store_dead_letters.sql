-- Keeps each record that was not decided, once, and has it published once. One that was retried and parked, and whose
-- waiting came to nothing, waits again: with its bytes, which may have been erased since, and is published again.
WITH told AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::text [], $2::integer [], $3::bigint [], $4::bytea [], $5::text [], $6::text [], $7::text [],
        $8::bytea [], $9::bytea [], $10::text [], $11::bigint []
    ) AS l (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms
    )
),

kept AS (
    INSERT INTO credits.dead_letters (
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers, timestamp_ms, created_at
    )
    SELECT
        topic, partition, "offset", digest, reason, detail, account_id, key, value, headers::json, timestamp_ms,
        credits.ledger_now()
    FROM told
    ORDER BY topic, partition, "offset"
    ON CONFLICT (topic, partition, "offset", digest) DO NOTHING
    RETURNING dead_letter_id, key
),

-- No upsert, which would lock every row that it meets, behind the account's: a retry locks them the other way around.
reopened AS (
    UPDATE credits.dead_letters AS d
    SET
        status = 'waiting', outcome = NULL, ended_at = NULL, operator = NULL, comment = NULL,
        reason = told.reason, detail = told.detail, key = told.key, value = told.value, headers = told.headers::json,
        erased_at = NULL, erased_by = NULL, created_at = credits.ledger_now()
    FROM told
    WHERE d.topic = told.topic AND d.partition = told.partition AND d."offset" = told."offset"
        AND d.digest = told.digest AND d.status = 'resolved' AND d.outcome = 'parked'
    RETURNING d.dead_letter_id, d.key
)

INSERT INTO credits.outbox (topic, key, dead_letter_id)
SELECT $12, key, dead_letter_id
FROM (SELECT * FROM kept UNION ALL SELECT * FROM reopened) AS to_publish
ORDER BY dead_letter_id;
