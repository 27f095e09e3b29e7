-- All columns of one dead letter.
SELECT
    dead_letter_id, topic, partition, "offset", account_id, reason, detail, created_at, timestamp_ms, status::text,
    outcome, ended_at, operator, comment, retries, retried_at, retry_reason, retry_detail, erased_at, erased_by, key,
    value, headers::text, content_sha256 IS NOT NULL AS is_left_out, key_bytes, value_bytes,
    encode(value_sha256, 'hex') AS value_sha256, encode(content_sha256, 'hex') AS content_sha256
FROM credits.dead_letters
WHERE dead_letter_id = $1;
