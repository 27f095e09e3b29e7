-- The paused topics.
SELECT topic, paused_at, reason
FROM credits.paused_topics
ORDER BY topic;
