-- The last $2 dead letters of an account, newest first, with the unreadable ones that have its id as their key.
SELECT
    l.dead_letter_id, l.reason, l.detail, l.status::text, l.outcome, l.topic, l.partition, l."offset", l.value,
    l.headers::text, l.timestamp_ms, l.created_at, l.ended_at, l.operator, l.comment AS why,
    l.erased_at IS NOT NULL AS is_erased, l.content_sha256 IS NOT NULL AS is_left_out
FROM credits.dead_letters AS l
WHERE l.account_id = $1 OR l.account_id IS NULL AND l.key = convert_to($1, 'UTF8')
ORDER BY l.dead_letter_id DESC
LIMIT $2;
