-- Locks the waiting ones of the given dead letters to the end of the transaction, in one order for all transactions.
SELECT
    dead_letter_id, topic, partition, "offset", key, value, headers::text, timestamp_ms, erased_at IS NOT NULL,
    content_sha256, value_bytes
FROM credits.dead_letters
WHERE dead_letter_id = any($1::bigint []) AND status = 'waiting'
ORDER BY dead_letter_id
FOR UPDATE;
