-- Lets a paused topic go on.
DELETE FROM credits.paused_topics
WHERE topic = $1
RETURNING topic;
