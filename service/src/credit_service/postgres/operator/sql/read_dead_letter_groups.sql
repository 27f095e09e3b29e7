-- The dead letters by topic, reason and status: of the topic $1 and the reason $2, null for any; with $3, waiting ones
-- only.
SELECT
    topic, reason, status::text, count(*) AS letters, min(created_at) AS oldest_at, max(created_at) AS newest_at,
    greatest(0, extract(EPOCH FROM credits.ledger_now() - min(created_at)))::bigint AS oldest_seconds,
    greatest(0, extract(EPOCH FROM credits.ledger_now() - max(created_at)))::bigint AS newest_seconds
FROM credits.dead_letters
WHERE ($1::text IS NULL OR topic = $1)
    AND ($2::text IS NULL OR reason = $2)
    AND (NOT $3::boolean OR status = 'waiting')
GROUP BY topic, reason, status
ORDER BY dead_letters.status, topic, letters DESC, reason;
