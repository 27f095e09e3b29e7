-- The topics that are paused.
SELECT topic, paused_at, reason
FROM credits.paused_topics
ORDER BY topic;
