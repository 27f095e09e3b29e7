-- Resumes a paused topic.
DELETE FROM credits.paused_topics
WHERE topic = $1
RETURNING topic;
