-- The given letters that wait, held to the end of the transaction, in the one order in which everybody holds them.
SELECT
    dead_letter_id, topic, partition, "offset", key, value, headers::text, timestamp_ms, erased_at IS NOT NULL,
    content_sha256, value_bytes
FROM credits.dead_letters
WHERE dead_letter_id = any($1::bigint []) AND status = 'waiting'
ORDER BY dead_letter_id
FOR UPDATE;
