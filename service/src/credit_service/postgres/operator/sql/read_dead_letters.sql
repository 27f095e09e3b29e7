-- The oldest $4 dead letters: of the topic $1 and the reason $2, null for any; with $3, waiting ones only.
SELECT
    dead_letter_id, topic, partition, "offset", account_id, reason, detail, status::text, outcome, retries,
    erased_at IS NOT NULL AS erased, content_sha256 IS NOT NULL AS left_out, created_at,
    greatest(0, extract(EPOCH FROM credits.ledger_now() - created_at))::bigint AS age_seconds
FROM credits.dead_letters
WHERE ($1::text IS NULL OR topic = $1)
    AND ($2::text IS NULL OR reason = $2)
    AND (NOT $3::boolean OR status = 'waiting')
ORDER BY dead_letter_id
LIMIT $4;
