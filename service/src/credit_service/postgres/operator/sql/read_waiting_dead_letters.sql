-- The waiting dead letters up to $1: of the topic $2, the reason $3 and the ids $4, null for any. Values larger than $5
-- bytes are not read.
SELECT
    dead_letter_id, topic, partition, "offset", key, CASE WHEN octet_length(value) <= $5 THEN value END,
    headers::text, timestamp_ms, erased_at IS NOT NULL, content_sha256, value_bytes
FROM credits.dead_letters
WHERE status = 'waiting' AND dead_letter_id <= $1
    AND ($2::text IS NULL OR topic = $2)
    AND ($3::text IS NULL OR reason = $3)
    AND ($4::bigint [] IS NULL OR dead_letter_id = any($4));
